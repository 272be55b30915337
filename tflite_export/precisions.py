"""The precisions of LiteRT files: the one table of all that they differ in.

To add a precision, add one entry to `PRECISIONS`, or call `register`.
"""

import collections.abc
import dataclasses
import json

from tflite_export import flatfile


@dataclasses.dataclass(frozen=True)
class Limits:
    """What still counts as equal when a file is compared with its model.

    Args:
        error: float >= 0. The largest relative error (`Parity.error`) that
            is allowed.
        agreement: float in [0, 1]. The smallest fraction of inputs whose
            largest output must be the same.

    Example:
    >>> limits = tflite_export.Limits(error=0.3, agreement=0.85)
    >>> tflite_export.check_parity(model, path, x_test, limits=limits).met
    """

    error: float
    agreement: float


@dataclasses.dataclass(frozen=True)
class Precision:
    """One precision: how it is converted, recognised and judged.

    Args:
        name: str. What `convert(precision=...)`, recipes and the command line
            call it.
        weights: str. The type in which the file stores weights, such as
            `"int8"`.
        activations: str. The type in which operations compute, such as
            `"float32"`.
        limits: A `Limits`: what `check_parity` demands of such files.
        settings: dict of attributes of TensorFlow's `TFLiteConverter`; a dict
            within it holds attributes of that attribute. It has to be plain
            data, since it travels to the converter's process as JSON: an
            enumeration's member or a type is written as its name. Defaults to
            `{}`, which are the converter's own settings.
        calibrated: bool. Whether sample inputs set the ranges of the
            activations. Defaults to `False`.
        io: tuple of str. The types that the file's input and output can have,
            `"float32"` first. Defaults to `("float32",)`.
        caution: str. What a user should know before using it; `convert` warns
            with it, and the Android app takes such files only when asked to.
            Defaults to `""`.
        recognised: Function of a file's `ModelT` (`flatfile.read`) that says
            whether the file has this precision. Defaults to `None`: a file is
            recognised by `activations` and `weights`.

    Example:
    >>> half = tflite_export.Precision(
    ...     "half",
    ...     weights="float16",
    ...     activations="float16",
    ...     limits=tflite_export.Limits(error=0.02, agreement=0.98),
    ...     settings={
    ...         "optimizations": ["DEFAULT"],
    ...         "target_spec": {
    ...             "supported_types": ["float16"],
    ...             "_experimental_supported_accumulation_type": "float16",
    ...         },
    ...     },
    ...     recognised=lambda file: b"fp16accfp16"
    ...     in flatfile.notes(file).values(),
    ... )
    >>> tflite_export.precisions.register(half)
    """

    name: str
    weights: str
    activations: str
    limits: Limits
    settings: dict = dataclasses.field(default_factory=dict)
    calibrated: bool = False
    io: tuple = ("float32",)
    caution: str = ""
    recognised: collections.abc.Callable | None = None

    def __post_init__(self):
        if "float32" not in self.io:
            raise ValueError(
                "Argument `io` must hold 'float32', which every file can "
                f"take and give. Received: io={self.io!r}"
            )
        try:
            json.dumps(self.settings)
        except TypeError as error:
            raise ValueError(
                "Argument `settings` must be plain data, with the names of "
                "TensorFlow's types in their place. "
                f"Received: settings={self.settings!r}"
            ) from error

    def fits(self, file):
        """Whether a file, a `ModelT` of LiteRT's schema, has it."""
        if self.recognised is not None:
            return self.recognised(file)
        return (self.activations, self.weights) in flatfile.types(file)


# From the most general to the most particular: a file has the last that fits.
# int16x8 and dynamic share their int8 weights.
PRECISIONS = {
    precision.name: precision
    for precision in (
        Precision(
            "float32",
            weights="float32",
            activations="float32",
            limits=Limits(1e-4, 0.999),
            # A file without any weights computes in float32, too.
            recognised=lambda file: True,
        ),
        Precision(
            "float16",
            weights="float16",
            activations="float32",
            limits=Limits(0.005, 0.99),
            settings={
                "optimizations": ["DEFAULT"],
                "target_spec": {"supported_types": ["float16"]},
            },
        ),
        Precision(
            "dynamic",
            weights="int8",
            activations="float32",
            limits=Limits(0.1, 0.95),
            settings={"optimizations": ["DEFAULT"]},
        ),
        Precision(
            "int8",
            weights="int8",
            activations="int8",
            limits=Limits(0.2, 0.9),
            settings={
                "optimizations": ["DEFAULT"],
                "target_spec": {"supported_ops": ["TFLITE_BUILTINS_INT8"]},
            },
            calibrated=True,
            io=("float32", "int8", "uint8"),
        ),
        Precision(
            "int16x8",
            weights="int8",
            activations="int16",
            limits=Limits(0.05, 0.95),
            settings={
                "optimizations": ["DEFAULT"],
                "target_spec": {
                    "supported_ops": [
                        "EXPERIMENTAL_TFLITE_BUILTINS"
                        "_ACTIVATIONS_INT16_WEIGHTS_INT8"
                    ]
                },
            },
            calibrated=True,
            io=("float32", "int16"),
            caution="precise but slow: the runtime has no fast kernels for "
            "them (some 40 times the time of float32)",
        ),
    )
}


def register(precision):
    """Adds a precision to the table.

    `convert`, recipes and `check_parity` know it from then on, in this
    process. Files that it fits are named after it, whatever else fits them.

    Args:
        precision: A `Precision`. It takes the place of one with its name.

    Returns:
        The precision.
    """
    PRECISIONS.pop(precision.name, None)
    PRECISIONS[precision.name] = precision
    return precision


def recognised(file):
    """The name of the precision that a file has.

    Args:
        file: A `ModelT` of LiteRT's schema, from `flatfile.read`.
    """
    return next(
        name
        for name, precision in reversed(PRECISIONS.items())
        if precision.fits(file)
    )
