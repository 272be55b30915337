"""Pictures of every kind become the pixels that a model gets."""

import keras
import numpy as np
import pytest
from PIL import Image

from keras_nonconvex.datasets import cache
from keras_nonconvex.datasets import pictures

RNG = np.random.default_rng(0)
# Smooth, so that JPEG hardly changes it.
COLOR = np.stack(
    np.meshgrid(np.linspace(0, 255, 20), np.linspace(0, 255, 12)), -1
)
COLOR = np.concatenate([COLOR, 255 - COLOR[..., :1]], -1).astype("uint8")


def saved(path, image, **options):
    image.save(path, **options)
    return path


def of_array(array, mode=None):
    image = Image.fromarray(array)
    return image.convert(mode) if mode else image


@pytest.mark.parametrize("ending", pictures.ENDINGS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_every_ending_is_read(tmp_path, ending, channels):
    path = saved(tmp_path / f"a{ending}", of_array(COLOR))
    array = pictures.picture(path, (12, 20, channels))
    assert array.shape == (12, 20, channels) and array.dtype == np.uint8
    mode = {1: "L", 3: "RGB", 4: "RGBA"}[channels]
    right = np.asarray(of_array(COLOR, mode)).reshape(array.shape)
    # A GIF has 256 colors, JPEG and WebP lose some, too.
    assert np.abs(array.astype(int) - right).mean() < 16
    assert np.array_equal(pictures.picture(path), pictures.picture(path))


@pytest.mark.parametrize("channels, mode", [(1, "grayscale"), (3, "rgb")])
def test_sizes_are_those_of_keras(tmp_path, channels, mode):
    path = saved(tmp_path / "a.png", of_array(COLOR))
    for size in ((7, 9), (30, 11), (5, 31), (12, 20)):
        for fit in ("stretch", "crop"):
            loaded = keras.utils.load_img(
                path,
                color_mode=mode,
                target_size=size,
                interpolation="bilinear",
                keep_aspect_ratio=fit == "crop",
            )
            right = keras.utils.img_to_array(loaded)
            array = pictures.picture(path, (*size, channels), fit)
            assert np.array_equal(array, right)


def test_without_antialias_sizes_are_those_of_the_layers_of_keras(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (23, 40, 3), "uint8")
    path = saved(tmp_path / "a.png", of_array(pixels))
    for size in ((7, 9), (30, 11), (5, 31), (23, 40), (50, 60)):
        for fit in ("stretch", "crop"):
            right = keras.preprocessing.image.smart_resize(
                pixels, size, "bilinear"
            )
            if fit == "stretch":
                right = keras.ops.image.resize(pixels * 1.0, size)
            array = pictures.picture(path, (*size, 3), fit, antialias=False)
            assert np.abs(array - np.asarray(right)).max() <= 0.51
    # The mean of all and the four nearest ones are not the same.
    mean = pictures.picture(path, (7, 9, 3))
    near = pictures.picture(path, (7, 9, 3), antialias=False)
    assert near.std() > 1.3 * mean.std()


def test_padding_keeps_the_whole_picture_in_the_middle(tmp_path):
    white = Image.new("RGB", (20, 10), "white")
    path = saved(tmp_path / "a.png", white)
    array = pictures.picture(path, (8, 8, 3), "pad")
    assert (array[2:6] == 255).all()
    assert (array[:2] == 0).all() and (array[6:] == 0).all()
    array = pictures.picture(path, (10, 40, 3), "pad")
    assert (array[:, 10:30] == 255).all() and array.sum() == 10 * 20 * 3 * 255


def test_transparent_pixels_show_white(tmp_path):
    clear = np.zeros((4, 4, 4), "uint8")
    clear[0] = 40, 80, 120, 255
    clear[1] = 40, 80, 120, 51
    path = saved(tmp_path / "a.png", of_array(clear))
    array = pictures.picture(path)
    assert (array[0] == (40, 80, 120)).all()
    np.testing.assert_allclose(array[1, 0], (212, 220, 228), atol=1)
    assert (array[2:] == 255).all()
    # One color of a palette, and of a gray picture, stands for clear.
    palette = of_array(np.array([[0, 1]], "uint8")).convert("P")
    saved(tmp_path / "p.png", palette, transparency=1)
    assert pictures.picture(tmp_path / "p.png").tolist()[0][1] == [255] * 3
    gray = of_array(np.array([[0, 9]], "uint8"))
    saved(tmp_path / "l.png", gray, transparency=9)
    array = pictures.picture(tmp_path / "l.png", (1, 2, 1))
    assert array.ravel().tolist() == [0, 255]


def test_16_bits_become_8(tmp_path):
    deep = np.array([[0, 257, 128 * 257, 65535]], "uint16")
    path = saved(tmp_path / "a.png", of_array(deep))
    for channels in (1, 3):
        array = pictures.picture(path, (1, 4, channels))
        assert array[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk_is_read(tmp_path):
    path = saved(tmp_path / "a.jpg", of_array(COLOR, "CMYK"), quality=95)
    array = pictures.picture(path)
    assert np.abs(array.astype(int) - COLOR).mean() < 8


def test_exif_turns_a_picture(tmp_path):
    for turn, right in (
        (1, COLOR),
        (3, COLOR[::-1, ::-1]),
        (6, np.rot90(COLOR, -1)),
        (8, np.rot90(COLOR)),
    ):
        exif = Image.Exif()
        exif[0x0112] = turn
        path = tmp_path / "a.png"
        saved(path, of_array(COLOR), exif=exif)
        assert np.array_equal(pictures.picture(path), right)


def test_masks_keep_their_numbers(tmp_path):
    numbers = np.array([[0, 1, 2], [2, 1, 0]], "uint8")
    palette = Image.fromarray(numbers, "L").convert("L")
    indexed = Image.fromarray(numbers).convert("P")
    indexed.putpalette([90, 90, 90, 10, 10, 10, 200, 0, 0])
    for image in (palette, indexed):
        path = saved(tmp_path / "a.png", image)
        assert np.array_equal(pictures.mask(path, (2, 3)), numbers)
        # Sizes mix no numbers.
        double = pictures.mask(path, (4, 6))
        assert np.array_equal(double, np.kron(numbers, np.ones((2, 2))))
    two = np.where(numbers > 0, 255, 0).astype("uint8")
    for mode in ("L", "1"):
        path = saved(tmp_path / "a.png", of_array(two, mode))
        assert np.array_equal(pictures.mask(path, (2, 3)), numbers > 0)
    path = saved(tmp_path / "a.png", of_array(COLOR))
    with pytest.raises(pictures.Unreadable, match="must be gray.*a.png"):
        pictures.mask(path, (2, 3))


def broken(folder):
    """Files of every kind that are no pictures."""
    whole = saved(folder / "whole.png", of_array(COLOR)).read_bytes()
    for name, content in (
        ("empty.png", b""),
        ("text.jpg", b"no picture"),
        ("half.png", whole[: len(whole) // 2]),
        ("other.gif", b"GIF89a" + whole),
        ("noise.webp", RNG.bytes(200)),
        ("flipped.png", whole[:40] + bytes(30) + whole[70:]),
    ):
        (folder / name).write_bytes(content)
        yield folder / name


def test_broken_files_are_named(tmp_path):
    for path in broken(tmp_path):
        with pytest.raises(pictures.Unreadable, match="cannot be read") as e:
            pictures.picture(path)
        assert str(e.value).endswith(f"Received: {str(path)!r}")


@pytest.fixture
def column(tmp_path):
    """Five pictures, the fourth of which is broken."""
    paths = []
    for i in range(5):
        image = Image.new("RGB", (4, 3), (i, i, i))
        paths.append(saved(tmp_path / f"{i}.png", image))
    paths[3].write_text("no picture")
    decode = pictures.picture
    return pictures.Pictures(paths, decode, ["as they are"])


def check_kept(column, broken):
    assert list(broken) == [3] and "cannot identify" in broken[3]
    for rows in ([0, 4, 2], [1]):
        assert column[rows][:, 0, 0, 0].tolist() == rows
    assert column.shape == (5, 3, 4, 3) and len(column) == 5


def test_pictures_are_kept_in_memory_or_decoded_anew(column, monkeypatch):
    made = cache.kept("train", column)
    assert isinstance(made[0], np.ndarray)
    check_kept(*made)
    monkeypatch.setattr(cache, "_IN_MEMORY", 5 * 36 - 1)
    made = cache.kept("train", column)
    assert made[0] is column
    check_kept(*made)


def test_pictures_are_kept_on_disk_until_they_change(
    column, tmp_path, monkeypatch
):
    folder = tmp_path / "cache"
    made, reasons = cache.kept("train", column, folder)
    assert isinstance(made, cache.Stored)
    check_kept(made, reasons)
    files = sorted(folder.iterdir())
    assert [file.suffix for file in files] == [".json", ".npy"]

    def refuse(path):
        raise AssertionError("decoded twice")

    again = pictures.Pictures(column.paths, pictures.picture, ["as they are"])
    again.decode = refuse
    check_kept(*cache.kept("train", again, folder))
    # Another file, another size: nothing old stays.
    Image.new("RGB", (4, 3), (9, 9, 9)).save(column.paths[3])
    made, reasons = cache.kept("train", column, folder)
    assert not reasons and made[[3]].max() == 9
    assert len(list(folder.iterdir())) == 2
    assert not {*folder.iterdir()} & {*files}
    monkeypatch.setattr(
        "shutil.disk_usage", lambda path: type("", (), {"free": 2 * 36 * 5 - 1})
    )
    other = pictures.Pictures(column.paths, pictures.picture, ["others"])
    assert cache.kept("train", other, folder)[0] is other


def test_an_interrupted_cache_is_no_cache(column, tmp_path, monkeypatch):
    folder = tmp_path / "cache"

    def stop(path):
        raise KeyboardInterrupt

    decode, column.decode = column.decode, stop
    with pytest.raises(KeyboardInterrupt):
        cache.kept("train", column, folder)
    assert list(folder.iterdir()) == []
    column.decode = decode
    check_kept(*cache.kept("train", column, folder))
