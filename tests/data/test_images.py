"""Headers and orientation of image files."""

import numpy as np
import pytest
from facts import raises_naming
from pictures import ORIENTATION, STORED, picture, save_turned
from PIL import Image, ImageOps

from wsss_lightning.data.images import Header, read_header, read_rgb
from wsss_lightning.errors import InputError


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif"])
def test_every_orientation_shows_the_picture_in_its_size(tmp_path, orientation, suffix):
    path = tmp_path / f"a{suffix}"
    save_turned(path, orientation)
    assert read_header(path).upright == (12, 20)
    np.testing.assert_array_equal(np.asarray(read_rgb(path)), np.asarray(picture()))


def test_the_stored_pixels_can_be_had_as_they_are(tmp_path):
    save_turned(tmp_path / "a.png", 6)
    header = read_header(tmp_path / "a.png")
    assert header == Header(20, 12, 6)
    assert header.stored == (20, 12)
    stored = np.asarray(read_rgb(tmp_path / "a.png", apply_orientation=False))
    np.testing.assert_array_equal(stored, np.asarray(picture().transpose(STORED[6])))


@pytest.mark.parametrize("orientation", [0, 9, 700])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    picture().save(tmp_path / "a.jpg", exif=exif)
    assert read_header(tmp_path / "a.jpg") == Header(12, 20, 1)


def test_reading_a_header_decodes_no_pixel(tmp_path, monkeypatch):
    save_turned(tmp_path / "a.png", 3)
    picture().save(tmp_path / "b.png")  # without EXIF, which could follow the pixels
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda self: pytest.fail("decoded"))
    assert read_header(tmp_path / "a.png").orientation == 3
    assert read_header(tmp_path / "b.png").orientation == 1


def test_the_helper_of_these_tests_shows_what_viewers_show(tmp_path):
    save_turned(tmp_path / "a.png", 8)
    with Image.open(tmp_path / "a.png") as image:
        shown = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(shown, np.asarray(picture()))


def test_16_bits_become_8_linearly(tmp_path):
    levels = np.array([[0, 128, 129, 257, 32_768, 65_535]], np.uint16)
    for suffix in (".png", ".tif"):
        Image.fromarray(levels).save(tmp_path / f"a{suffix}")
        assert read_header(tmp_path / f"a{suffix}").deep
        read = np.asarray(read_rgb(tmp_path / f"a{suffix}"))
        assert read[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]
        assert (read == read[..., :1]).all()
    picture().save(tmp_path / "b.png")
    assert not read_header(tmp_path / "b.png").deep


def test_levels_of_unknown_range_are_refused(tmp_path):
    Image.fromarray(np.array([[0.0, 0.5]], np.float32)).save(tmp_path / "a.tif")
    Image.fromarray(np.array([[-1, 70_000]], np.int32)).save(tmp_path / "b.tif")
    for name, facts in (("a.tif", ["mode F"]), ("b.tif", ["-1", "70000"])):
        with raises_naming(InputError, name, "65535", *facts):
            read_rgb(tmp_path / name)


def test_an_orientation_is_applied_to_16_bits_too(tmp_path):
    levels = np.zeros((12, 20), np.uint16)
    levels[:6, :8] = 65_535
    save_turned(tmp_path / "a.png", 6, Image.fromarray(levels))
    np.testing.assert_array_equal(np.asarray(read_rgb(tmp_path / "a.png"))[..., 0], levels // 257)


def test_transparency_is_dropped(tmp_path):
    rgba = picture().convert("RGBA")
    rgba.putalpha(0)
    rgba.save(tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(read_rgb(tmp_path / "a.png")), np.asarray(picture()))
