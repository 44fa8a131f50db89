"""Images in any form become the same tensor as in training."""

import numpy as np
import pytest
import torch
from facts import raises_naming, warns_naming
from pictures import picture, save_turned
from PIL import Image

from wsss_lightning.errors import InputError
from wsss_lightning.predict.images import Photo, check_names, find_files, find_photos, to_tensor

PIXELS = np.asarray(picture())
EXPECTED = torch.from_numpy(PIXELS.transpose(2, 0, 1).copy()).float() / 255


def with_alpha() -> Image.Image:
    image = picture().convert("RGBA")
    image.putalpha(7)
    return image


def saved(folder, orientation: int):
    save_turned(folder / "a.png", orientation)
    return folder / "a.png"


TENSOR = torch.from_numpy(PIXELS.transpose(2, 0, 1).copy())
# the same picture in every form that is read
FORMS = {
    "path": lambda folder: saved(folder, 1),
    "text": lambda folder: str(saved(folder, 1)),
    "turned": lambda folder: saved(folder, 6),
    "PIL": lambda _: picture(),
    "PIL with alpha": lambda _: with_alpha(),
    "PIL palette": lambda _: picture().convert("P", palette=Image.Palette.ADAPTIVE),
    "uint8 array": lambda _: PIXELS,
    "view of an array": lambda _: np.flip(np.flip(PIXELS, 1).copy(), 1),
    "array with alpha": lambda _: np.asarray(with_alpha()),
    "uint16 array": lambda _: PIXELS.astype(np.uint16) * 257,
    "float64 array": lambda _: PIXELS / 255.0,
    "uint8 tensor": lambda _: TENSOR,
    "float tensor": lambda _: TENSOR / 255,
    "float16 tensor": lambda _: (TENSOR / 255).half(),
    "batch of one": lambda _: TENSOR[None],
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_every_form_of_an_image_gives_the_same_tensor(tmp_path, form):
    torch.testing.assert_close(to_tensor(form(tmp_path)), EXPECTED)


def test_grey_images_get_three_equal_channels():
    grey = PIXELS[..., 0]
    for image in (
        grey,
        grey[..., None],
        torch.from_numpy(grey.copy())[None],
        Image.fromarray(grey),
    ):
        tensor = to_tensor(image)
        assert tensor.shape == (3, *grey.shape)
        torch.testing.assert_close(tensor, EXPECTED[:1].expand(3, -1, -1))


def test_cmyk_is_read_as_in_training(tmp_path):
    picture().convert("CMYK").save(tmp_path / "a.jpg")
    with Image.open(tmp_path / "a.jpg") as image:
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    np.testing.assert_array_equal((to_tensor(tmp_path / "a.jpg") * 255).round(), expected)


@pytest.mark.parametrize(
    ("image", "facts"),
    [
        (np.full((4, 5, 3), 128.0), ["[0, 1]", "255"]),
        (torch.full((3, 4, 5), 128.0), ["[0, 1]", "255"]),
        (torch.full((3, 4, 5), -0.1), ["[0, 1]", "normalisation"]),
        (np.full((4, 5, 3), np.nan), ["[0, 1]"]),
        (np.zeros((4, 5, 3), np.int64), ["int64", "uint8"]),
        (np.zeros((4, 5, 3), bool), ["bool", "uint8"]),
        (torch.zeros((3, 4, 5), dtype=torch.int32), ["int32", "uint8"]),
        (np.zeros((3, 40, 50), np.uint8), ["(3, 40, 50)", "transpose(1, 2, 0)"]),
        (torch.zeros((40, 50, 3)), ["(40, 50, 3)", "permute(2, 0, 1)"]),
        (np.zeros((4, 5, 2), np.uint8), ["(4, 5, 2)"]),
        (torch.zeros(4, 5), ["(4, 5)"]),
        (np.zeros((0, 5, 3), np.uint8), ["(0, 5, 3)"]),
        (7, ["int", "path"]),
        ({"a": 1}, ["dict"]),
        (b"a.png", ["bytes"]),
    ],
)
def test_images_of_another_range_type_or_shape_are_refused(image, facts):
    with raises_naming(InputError, *facts):
        to_tensor(image)


def test_floats_that_were_cast_to_integers_are_noticed():
    image = torch.zeros(3, 4, 5, dtype=torch.uint8)
    image[0] = 1
    with warns_naming(UserWarning, "0 and 1", "255"):
        to_tensor(image)


def test_mixed_inputs_keep_their_order_and_are_named(tmp_path):
    for name in ("b/x.png", "b/c/y.JPG", "z.png", ".hidden.png", "b/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture().save(path, format="PNG")
    mixed = [PIXELS, str(tmp_path), [torch.zeros(2, 3, 4, 4)], (picture() for _ in range(2))]
    names = [photo.name for photo in find_photos(mixed)]
    assert names[:4] == ["image_0", "b/c/y", "b/x", "z"]
    assert names[4:] == ["image_4", "image_5", "image_6", "image_7"]
    (single,) = find_files(tmp_path / "b/c/y.JPG")
    assert single == ("y", tmp_path / "b/c/y.JPG")
    pattern = [name for name, _ in find_files(str(tmp_path / "b/**/*.JPG"))]
    assert pattern == ["c/y"]
    assert [name for name, _ in find_files(str(tmp_path / "?.png"))] == ["z"]
    assert [name for name, _ in find_files(str(tmp_path / "b/**"))] == ["c/y", "x"]


def test_generators_are_read_on_demand():
    def endless():
        while True:
            yield PIXELS

    photos = find_photos(endless())
    assert [next(photos).name for _ in range(3)] == ["image_0", "image_1", "image_2"]


def test_paths_without_images_are_named(tmp_path):
    (tmp_path / "notes.txt").write_text("x")
    with raises_naming(InputError, tmp_path, "no image"):
        find_files(tmp_path)
    with raises_naming(InputError, tmp_path / "absent.jpg", "does not exist"):
        find_files(tmp_path / "absent.jpg")
    with raises_naming(InputError, "*.txt", "1 others"):
        find_files(tmp_path / "*.txt")
    with raises_naming(InputError, "notes.txt", "unknown format"):
        to_tensor(tmp_path / "notes.txt")
    with raises_naming(InputError, "2 images", "one image"):
        to_tensor([PIXELS, PIXELS])


def test_a_folder_whose_name_looks_like_a_pattern_is_a_folder(tmp_path):
    folder = tmp_path / "photos [1]"
    folder.mkdir()
    picture().save(folder / "a b.png")
    assert find_files(folder) == [("a b", folder / "a b.png")]


def test_images_that_would_share_a_result_are_named(tmp_path):
    files = [("a", tmp_path / "a.jpg"), ("a", tmp_path / "a.png"), ("b", tmp_path / "b.png")]
    with raises_naming(InputError, "a.jpg", "a.png", "1 pairs") as caught:
        check_names(files)
    assert "b.png" not in str(caught.value)
    check_names([files[0], files[0], files[2]])


def test_sizes_are_known_before_pixels_are_read(tmp_path):
    save_turned(tmp_path / "a.png", 6)
    photos = [Photo("a", tmp_path / "a.png"), Photo("b", picture()), Photo("c", PIXELS)]
    assert {photo.size for photo in photos} == {PIXELS.shape[:2]}
