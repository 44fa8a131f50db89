import shutil
import subprocess
import sys

import pytest
import torch

from wsss_lightning.densecrf import native
from wsss_lightning.densecrf.parameters import CRFParameters
from wsss_lightning.errors import InputError

PSA = CRFParameters(80, 13, 3, w1=10, w2=3, iterations=1)
needs_compiler = pytest.mark.skipif(
    native.unavailable() is not None, reason=str(native.unavailable())
)


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """A cache of its own, and nothing remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    native._library.cache_clear()
    yield tmp_path / "cache/wsss_lightning"
    native._library.cache_clear()


def run():
    image = torch.zeros(3, 4, 3, dtype=torch.uint8)
    return native.mean_field([image], [torch.zeros(2, 3, 4)], PSA)[0]


@needs_compiler
def test_loops_are_compiled_once_and_found_again(fresh, monkeypatch):
    run()
    (made,) = fresh.glob("*.so")
    native._library.cache_clear()
    monkeypatch.setattr(native, "_compile", lambda *_: pytest.fail("compiled again"))
    run()
    assert list(fresh.glob("*.so")) == [made]
    assert not [path for path in fresh.iterdir() if path.is_dir()]  # nothing half done


@needs_compiler
def test_a_damaged_file_is_compiled_anew(fresh, monkeypatch):
    run()
    (made,) = fresh.glob("*.so")
    native._library.cache_clear()
    before = made.stat().st_mtime_ns
    open_library = native.ctypes.CDLL

    def refuse_once(path):
        monkeypatch.setattr(native.ctypes, "CDLL", open_library)
        raise OSError(f"{path}: file too short")

    monkeypatch.setattr(native.ctypes, "CDLL", refuse_once)
    assert run().shape == (2, 3, 4)
    assert made.stat().st_mtime_ns > before


def test_without_a_compiler_the_reason_and_the_mend_are_told(fresh, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert "no C++ compiler (CXX=no-such-compiler); install one" in native.unavailable()
    with pytest.raises(InputError, match=r"engine must .*native; there is no C\+\+ compiler"):
        run()


def test_what_a_compiler_says_last_is_told(fresh, monkeypatch, tmp_path):
    fake = tmp_path / "c++"
    fake.write_text("#!/bin/sh\necho 'no vectors here' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("CXX", str(fake))
    assert "cannot compile the CRF: no vectors here" in native.unavailable()


@needs_compiler
def test_a_cache_that_cannot_be_written_is_replaced_by_a_temporary_folder(
    monkeypatch, tmp_path, fresh
):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(native.tempfile, "tempdir", str(tmp_path))
    assert run().shape == (2, 3, 4)
    assert list(tmp_path.glob("wsss_lightning-*/*.so"))


@needs_compiler
def test_more_labels_than_a_mask_has_are_refused():
    image = torch.zeros(3, 4, 3, dtype=torch.uint8)
    with pytest.raises(InputError, match=r"unary must .*256.*got 257"):
        native.mean_field([image], [torch.zeros(257, 3, 4)], PSA)
    assert native.mean_field([image], [torch.zeros(256, 3, 4)], PSA)[0].shape == (256, 3, 4)


@needs_compiler
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="sanitizers are loaded the way of Linux")
@pytest.mark.parametrize("kind", ["address,undefined"])
def test_no_access_goes_astray(tmp_path, kind):
    """The loops under sanitizers, in a program of their own."""
    compiler = shutil.which("g++") or pytest.skip("there is no g++")
    (tmp_path / "main.cpp").write_text(
        f'#include "{native.SOURCE}"\n'
        """
        #include <cstdio>
        int main() {
          const int sizes[][2] = {{1, 1}, {1, 130}, {130, 1}, {37, 65}, {400, 17}};
          const int labels[] = {1, 2, 4, 5, 9, 21, 30, 33, 50, 90, 100, 256};
          for (auto& size : sizes)
            for (int l : labels) {
              const int pixels = size[0] * size[1];
              std::vector<uint8_t> image(3 * pixels);
              std::vector<float> unary(l * pixels), marginal(l * pixels, -1.f);
              for (size_t i = 0; i < image.size(); ++i) image[i] = (i * 7919u) >> 3;
              for (size_t i = 0; i < unary.size(); ++i) unary[i] = (i * 31u) % 17;
              for (float theta : {1.f, 80.f})
                if (mean_field(image.data(), unary.data(), marginal.data(), l, size[0], size[1],
                               theta, 3, 1, 4, 3, 2))
                  return 1;
              for (float m : marginal)
                if (!(m >= 0 && m <= 1.001f)) return 2;
            }
          puts("clean");
        }
        """
    )
    program = tmp_path / "main"
    flags = ["-std=c++17", "-O1", "-g", f"-fsanitize={kind}", "-fno-sanitize-recover", "-Wno-psabi"]
    build = [compiler, *flags, str(tmp_path / "main.cpp"), "-o", str(program)]
    made = subprocess.run(build, capture_output=True, text=True)
    if "cannot find" in made.stderr:
        pytest.skip("the sanitizers' libraries are not installed")
    assert made.returncode == 0, made.stderr
    done = subprocess.run([program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "clean\n"), done.stderr
