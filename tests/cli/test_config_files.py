"""The user's own YAML is checked before anything is built from it."""

import pytest
from facts import raises_naming

from wsss_lightning.cli.config_files import check_files
from wsss_lightning.errors import InputError


def refused(tmp_path, text: str | bytes, facts: list[object], name: str = "data/mine.yaml") -> None:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with raises_naming(InputError, *facts):
        check_files([tmp_path])


def test_plain_files_pass(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.yaml").write_text(
        "a: &a [1, 2]\nb: *a\ndataset: {_target_: wsss_lightning.data.dataset.VOCDataset}\n"
    )
    (tmp_path / "broken.yaml").write_text("a: [")  # Hydra complains where it is chosen
    check_files([tmp_path, tmp_path / "absent"])


def test_a_file_that_is_no_text_is_refused(tmp_path):
    refused(tmp_path, b"\xff\xd8\xff", ["mine.yaml", "UTF-8"])


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (
            "hydra: {callbacks: {a: {_target_: subprocess.Popen, args: [touch, x]}}}",
            "subprocess.Popen",
        ),
        ("hydra: {launcher: {_target_: os.system}}", "os.system"),
        ("hydra: {sweeper: {sampler: {_target_: builtins.eval}}}", "builtins.eval"),
        ("hydra: {job_logging: {handlers: {a: {(): os.system}}}}", "os.system"),
        ("hydra: {job_logging: {handlers: {a: {class: subprocess.Popen}}}}", "subprocess.Popen"),
        ("a: [{b: [{_target_: os.system}]}]", "os.system"),
        ("a: {_target_: '${oc.env:WHAT}'}", "${oc.env:WHAT}"),
    ],
)
@pytest.mark.parametrize("name", ["mine.yaml", "experiment/mine.yml", "hydra/launcher/mine.yaml"])
def test_a_file_cannot_have_hydra_build_what_it_likes(tmp_path, text, target, name):
    refused(tmp_path, text, [name, target], name)


def test_what_hydra_needs_may_be_built(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "hydra: {sweeper: {sampler: {_target_: optuna.samplers.TPESampler}}, launcher: "
        "{_target_: hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher}, "
        "job_logging: {handlers: {console: {class: logging.StreamHandler}}}}"
    )
    check_files([tmp_path])


@pytest.mark.parametrize("value", ["", "voc_layout", "{data: voc_layout}"])
def test_defaults_are_a_list(tmp_path, value):
    refused(tmp_path, f"defaults: {value}", ["mine.yaml", "defaults", "list"])


@pytest.mark.parametrize("text", ["defaults", "[1, 2]", "3"])
def test_a_file_without_keys_is_refused(tmp_path, text):
    refused(tmp_path, text, ["mine.yaml", "KEY: VALUE"])


def test_a_target_that_was_renamed_is_answered_with_the_new_name(tmp_path):
    text = "dataset: {_target_: wsss_lightning.data.voc_layout.VOCLayout}"
    refused(tmp_path, text, ["mine.yaml", "wsss_lightning.data.dataset.VOCDataset"])


def test_a_package_of_the_users_own_is_allowed_by_its_name(tmp_path, monkeypatch):
    text = "net: {_target_: my_methods.foo.Foo}"
    refused(tmp_path, text, ["my_methods.foo.Foo", "WSSS_ALLOW=my_methods"])
    monkeypatch.setenv("WSSS_ALLOW", "my_methods")
    check_files([tmp_path])
