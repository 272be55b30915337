"""Pictures on disk: from any file that PIL reads to uint8 of one size."""

import os

import numpy as np
from PIL import Image
from PIL import ImageOps

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
# How a picture of another shape gets that of a model's input.
FITS = ("stretch", "crop", "pad")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Unreadable(ValueError):
    """A file is no picture, or a broken one.

    Args:
        path: A string or path.
        reason: A string or an exception.
    """

    def __init__(self, path, reason):
        first = str(reason).strip().split("\n")[0]
        self.reason = first or type(reason).__name__
        super().__init__(
            f"This picture cannot be read ({self.reason}). "
            f"Received: {os.fspath(path)!r}"
        )


def is_picture(path):
    """Whether a path has the ending of a picture and is not hidden."""
    return path.suffix.lower() in ENDINGS and not path.name.startswith(".")


def picture(path, shape=None, fit="stretch", antialias=True):
    """Decodes a picture.

    It is turned as its EXIF data says. Transparent pixels show white, the
    background that cut-outs are made for. Of 16 bits the upper 8 are kept, of
    an animation the first picture.

    Args:
        path: A string or path.
        shape: (height, width, channels) with 1, 3 or 4 channels; None in it
            is the picture's own size. Defaults to `None`: in colour, of its
            own size.
        fit: One of `FITS`. Defaults to `"stretch"`.
        antialias: As of `resized`. Defaults to `True`.

    Returns:
        A uint8 array (height, width, channels).

    Raises:
        Unreadable: The file is broken, or no picture.
    """
    with _opened(path) as image:
        image = _upright(image)
        return _made(image, shape or (None, None, 3), fit, antialias)


def from_array(array, shape=None, fit="stretch", antialias=True):
    """The same of a picture that is decoded already.

    Args:
        array: A uint8 array (height, width, channels).
        shape: As of `picture`. Defaults to `None`.
        fit: As of `picture`. Defaults to `"stretch"`.
        antialias: As of `resized`. Defaults to `True`.
    """
    array = array[..., 0] if array.shape[-1] == 1 else array
    image = Image.fromarray(array)
    return _made(image, shape or (None, None, 3), fit, antialias)


def mask(path, size, fit="stretch"):
    """Decodes a mask, whose values are class numbers.

    Masks are gray, or have a palette, whose indices are the numbers. One that
    has only 0 and 255 has the classes 0 and 1.

    Args:
        path: A string or path.
        size: (height, width), as of `resized`. Values are never mixed.
        fit: One of `FITS`. What `"pad"` adds is class 0. Defaults to
            `"stretch"`.

    Returns:
        A uint8 array (height, width).
    """
    with _opened(path) as image:
        if image.mode not in ("1", "L", "P"):
            raise Unreadable(
                path,
                "a mask must be gray with 8 bits or have a palette, not "
                f"{image.mode}",
            )
        if image.mode == "1":
            image = image.convert("L")
        array = np.asarray(resized(image, size, fit, mix=False))
        two = array.max() == 255 and np.isin(array, (0, 255)).all()
        return array // 255 if two else array


def resized(image, size, fit="stretch", antialias=True, mix=True):
    """A PIL image in another size.

    Args:
        image: The `PIL.Image.Image`.
        size: (height, width); its own where one of them is None.
        fit: `"stretch"` changes the proportions, `"crop"` cuts what is too
            much off both sides, `"pad"` adds black on both sides. Defaults to
            `"stretch"`.
        antialias: A boolean: whether a pixel of a smaller picture is a mean
            of all that it stands for, or is made of the four pixels that are
            nearest, as layers of Keras and `tf.image.resize` do. Defaults to
            `True`.
        mix: A boolean: whether pixels are mixed (bilinear), or the nearest
            one is taken. Defaults to `True`.
    """
    if None in size or image.size == (size[1], size[0]):
        return image
    height, width = size
    if fit == "stretch":
        return _scaled(image, size, antialias, mix)
    if fit == "crop":
        # The box that Keras takes with `keep_aspect_ratio=True`.
        box_width = min(image.width, image.height * width // height) or 1
        box_height = min(image.height, image.width * height // width) or 1
        left = (image.width - box_width) // 2
        top = (image.height - box_height) // 2
        box = (left, top, left + box_width, top + box_height)
        return _scaled(image, size, antialias, mix, box)
    scale = min(width / image.width, height / image.height)
    inner = [max(1, round(scale * side)) for side in image.size[::-1]]
    padded = Image.new(image.mode, (width, height))
    padded.paste(
        _scaled(image, inner, antialias, mix),
        ((width - inner[1]) // 2, (height - inner[0]) // 2),
    )
    return padded


def _scaled(image, size, antialias, mix, box=None):
    """What is in a box of an image, or all of it, in another size."""
    if mix and not antialias:
        image = image if box is None else image.crop(box)
        return Image.fromarray(_bilinear(np.asarray(image), size))
    ways = Image.Resampling
    way = ways.BILINEAR if mix else ways.NEAREST
    return image.resize((size[1], size[0]), way, box=box)


def _bilinear(array, size):
    """A uint8 array (height, width, ...) in a size, of the nearest pixels."""
    array = array.astype("float32")
    for axis, count in enumerate(size):
        last = array.shape[axis] - 1
        # The middles of the new pixels among those of the old ones.
        places = (np.arange(count) + 0.5) * (last + 1) / count - 0.5
        places = np.clip(places, 0, last)
        low = np.floor(places).astype(int)
        part = (places - low).astype("float32")
        part = part.reshape(-1, *[1] * (array.ndim - axis - 1))
        first, second = (
            array.take(rows, axis) for rows in (low, np.minimum(low + 1, last))
        )
        array = first + part * (second - first)
    return array.round().astype("uint8")


class Pictures:
    """A column of pictures that are decoded whenever they are asked for.

    Like an array it has a `shape`, a `dtype` and `len`, and gives the array
    of some rows.

    Args:
        paths: A list of paths.
        decode: A function of a path that returns a uint8 array.
        settings: What `decode` depends on, as JSON can hold it.
    """

    dtype = np.dtype("uint8")

    def __init__(self, paths, decode, settings):
        self.paths = paths
        self.decode = decode
        self.settings = settings
        self.shape = (len(paths), *self._first().shape)

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, rows):
        return np.stack([self.one(row) for row in rows])

    def one(self, row):
        """The picture of a row, which has the size of all."""
        array = self.decode(self.paths[row])
        if array.shape != self.shape[1:]:
            raise ValueError(
                "Pictures of several sizes need the size of a model's input. "
                f"Received: {array.shape} in {str(self.paths[row])!r} and "
                f"{self.shape[1:]} in others"
            )
        return array

    def _first(self):
        """The first picture that can be read, which tells the size."""
        for path in self.paths:
            try:
                return self.decode(path)
            except Unreadable as error:
                last = error
        raise ValueError(f"None of {len(self)} pictures can be read. {last}")


def _opened(path):
    """A PIL image with its pixels loaded."""
    # PIL raises errors of many kinds on broken files: SyntaxError,
    # struct.error, DecompressionBombError and others.
    try:
        image = Image.open(path)
        image.load()
    except MemoryError:
        raise
    except Exception as error:
        raise Unreadable(path, error) from error
    return image


def _upright(image):
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        # The pixels are sound where only the EXIF data is broken.
        return image


def _made(image, shape, fit, antialias):
    """The array of a picture in the mode and the size of a shape."""
    height, width, channels = shape
    image = _in_mode(image, _MODES[channels])
    image = resized(image, (height, width), fit, antialias)
    array = np.asarray(image)
    return array if array.ndim == 3 else array[..., None]


def _in_mode(image, mode):
    if image.mode.startswith("I"):
        # 65535 is white, whatever the brightest pixel is.
        values = np.clip(np.asarray(image.convert("I")), 0, 65535) / 257
        image = Image.fromarray(values.round().astype("uint8"))
    if mode != "RGBA" and image.has_transparency_data:
        over = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, over)
    return image if image.mode == mode else image.convert(mode)
