"""Headers and orientation of image files."""

import numpy as np
import pytest
from pictures import ORIENTATION, STORED, picture, save_turned
from PIL import Image, ImageOps

from wsss_lightning.data.images import Header, read_header, read_rgb


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
