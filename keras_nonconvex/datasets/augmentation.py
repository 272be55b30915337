"""Random changes of training pictures, as the settings of a recipe say."""

import keras
import numpy as np

from keras_nonconvex import checks

_FLIPS = ("horizontal", "vertical", "both")


def checked(settings, maps=False):
    """Returns legal settings.

    Args:
        settings: A dict with any of these keys.

            - `"flip"`: `"horizontal"` (or True), `"vertical"` or `"both"`:
              every picture is mirrored with probability 1/2.
            - `"crop"`: an integer >= 1: a border of so many black pixels is
              added, and a part of the old size is cut out at random.
            - `"color"`: a number in (0, 1]: brightness, contrast and
              saturation are multiplied by random numbers from `1 - color` to
              `1 + color`.
            - `"rand_augment"`: a dict of arguments of
              `keras.layers.RandAugment`, or True for its defaults.

            None stands for no changes.
        maps: A boolean: whether the targets are maps, which change with the
            pictures. Defaults to `False`.
    """
    settings = dict(settings or {})
    for key in settings:
        checks.choice("augment", key, _CHANGES)
    settings = {key: s for key, s in settings.items() if s not in (None, False)}
    if "flip" in settings:
        if settings["flip"] is True:
            settings["flip"] = "horizontal"
        checks.choice("flip", settings["flip"], _FLIPS)
    if "crop" in settings:
        checks.whole("crop", settings["crop"], 1, " of pixels")
    if "color" in settings:
        checks.number(
            "color",
            settings["color"],
            "a number in (0, 1]",
            lambda number: 0 < number <= 1,
        )
    if "rand_augment" in settings:
        if maps:
            raise ValueError(
                "Argument `augment` must leave 'rand_augment' out where the "
                "targets are maps, which it would not move along. "
                f"Received: augment={settings!r}"
            )
        if settings["rand_augment"] is True:
            settings["rand_augment"] = {}
        _rand_augment(settings["rand_augment"], 0)
    return settings


def changed(x, y, settings, rng):
    """Changes a batch.

    Args:
        x: A float32 array (n, height, width, channels) from 0 to 255.
        y: The targets, or None. Maps (n, height, width, ...) are mirrored and
            cut like the pictures.
        settings: What `checked` returns.
        rng: The `numpy.random.Generator` that everything is drawn from.
    """
    maps = y is not None and y.ndim >= 3
    for key, change in _CHANGES.items():
        if key in settings:
            x, moved = change(settings[key], x, y if maps else None, rng)
            y = moved if maps else y
    return x, y


def _flip(which, x, y, rng):
    for axis, name in ((2, "horizontal"), (1, "vertical")):
        if which in (name, "both"):
            chosen = rng.random(len(x)) < 0.5
            x, y = (
                a if a is None else _mirrored(a, chosen, axis) for a in (x, y)
            )
    return x, y


def _mirrored(a, chosen, axis):
    a = a.copy()
    a[chosen] = np.flip(a[chosen], axis)
    return a


def _crop(border, x, y, rng):
    places = rng.integers(0, 2 * border + 1, (len(x), 2))
    return tuple(a if a is None else _cut(a, border, places) for a in (x, y))


def _cut(a, border, places):
    height, width = a.shape[1:3]
    rest = [(0, 0)] * (a.ndim - 3)
    wide = np.pad(a, [(0, 0), (border, border), (border, border), *rest])
    return np.stack(
        [
            one[top : top + height, left : left + width]
            for one, (top, left) in zip(wide, places, strict=True)
        ]
    )


def _color(most, x, y, rng):
    factors = rng.uniform(1 - most, 1 + most, (3, len(x), 1, 1, 1))
    brightness, contrast, saturation = factors.astype("float32")
    x = x * brightness
    mean = x.mean((1, 2, 3), keepdims=True)
    x = mean + contrast * (x - mean)
    gray = x.mean(3, keepdims=True)
    x = gray + saturation * (x - gray)
    return np.clip(x, 0, 255), y


def _rand_augmented(arguments, x, y, rng):
    # Keras draws the operations once for a batch, their strength for each
    # picture. A layer of its own has no state that other threads change.
    layer = _rand_augment(arguments, int(rng.integers(2**31)))
    changed = keras.ops.convert_to_numpy(layer(x, training=True))
    return np.clip(changed, 0, 255).astype("float32"), y


def _rand_augment(arguments, seed):
    try:
        return keras.layers.RandAugment(
            **{"value_range": (0, 255), "seed": seed, **arguments}
        )
    except (TypeError, ValueError) as error:
        raise ValueError(
            "Argument `rand_augment` must be true or arguments of "
            f"keras.layers.RandAugment ({error}). "
            f"Received: rand_augment={arguments!r}"
        ) from error


# In the order in which they are made.
_CHANGES = {
    "flip": _flip,
    "crop": _crop,
    "color": _color,
    "rand_augment": _rand_augmented,
}
