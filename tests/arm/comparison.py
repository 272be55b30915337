"""How equal two runs of a LiteRT file must be, and whether they are."""

import dataclasses
import os

import numpy as np
from rich.table import Table

from tflite_export import flatfile

# Sums of floats depend on their order, which differs between processors. Of
# the largest output, or of 1.
FLOAT_TOLERANCE = 1e-5
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
_Type = flatfile.schema.TensorType


@dataclasses.dataclass(frozen=True)
class Kind:
    """What a file computes with, read from the file itself.

    Attributes:
        precision: As in `tflite_export.convert`.
        softmax: Whether it has a softmax, the one int8 operation that may
            round differently.
        step: What one integer step of the output is worth; None for floats.
    """

    precision: str
    softmax: bool
    step: float | None

    @property
    def steps(self):
        """How many integer steps may lie between two runs."""
        return int(self.precision == "int8" and self.softmax)

    @property
    def rule(self):
        if self.precision == "dynamic":
            return "same argmax"
        if self.step is None:
            return f"to {FLOAT_TOLERANCE:g}"
        return "to 1 LSB (softmax)" if self.steps else "bit for bit"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two runs of a file on the same images.

    Attributes:
        kind: The file's `Kind`.
        difference: The largest one: in integer steps if the kind has a
            `step`, else as it is.
        agreeing, images: On how many of the images the argmax is the same.
        constant: The outputs are the same for all images: nothing is shown.
        passed: The rule holds, and the comparison shows something.
    """

    kind: Kind
    difference: float
    agreeing: int
    images: int
    constant: bool
    passed: bool

    @property
    def size(self):
        if self.kind.step is None:
            return f"{self.difference:.1e}"
        return f"{self.difference:.0f} LSB"

    @property
    def verdict(self):
        if self.constant:
            return "[red]constant"
        return "[green]passed" if self.passed else "[red]failed"


def compare(kind, expected, found):
    """A `Comparison` of two arrays (images, classes)."""
    if expected.shape != found.shape:
        raise ValueError(
            "Two runs of one file have outputs of one shape. "
            f"Received: {expected.shape} and {found.shape}"
        )
    expected, found = (x.astype("float64") for x in (expected, found))
    same = expected.argmax(-1) == found.argmax(-1)
    gap = np.abs(expected - found)
    if kind.precision == "dynamic":
        difference, holds = gap.max(), same.all() and np.isfinite(gap).all()
    elif kind.step is None:
        size = max(1.0, np.abs(expected).max())
        difference, holds = gap.max(), gap.max() <= FLOAT_TOLERANCE * size
    else:
        difference = np.rint(gap / kind.step).max()
        holds = difference <= kind.steps
    constant = bool(np.all(expected == expected[:1]))
    return Comparison(
        kind=kind,
        difference=float(difference),
        agreeing=int(same.sum()),
        images=len(expected),
        constant=constant,
        passed=bool(holds and not constant),
    )


def table(title, paths, results):
    """Comparisons of files, for a console."""
    made = Table(title=title)
    for column in ("File", "Precision", "Must be equal"):
        made.add_column(column)
    made.add_column("Largest difference", justify="right")
    made.add_column("Same argmax", justify="right")
    made.add_column("Verdict")
    common = os.path.commonpath([path.absolute().parent for path in paths])
    for path, result in zip(paths, results, strict=True):
        name = path.absolute().relative_to(common)
        made.add_row(
            str(name.with_suffix("")),
            result.kind.precision,
            result.kind.rule,
            result.size,
            f"{result.agreeing} of {result.images}",
            result.verdict,
        )
    return made


def kind(path):
    """The `Kind` of a LiteRT file."""
    model = flatfile.read(path)
    (graph,) = model.subgraphs
    operators = [(flatfile.kind(model, op), op) for op in graph.operators]
    return Kind(
        precision=_precision(path, graph.tensors, operators),
        softmax=any(name == "SOFTMAX" for name, _ in operators),
        step=_step(graph, operators),
    )


def _precision(path, tensors, operators):
    pairs = [
        [tensors[i].type for i in operator.inputs[:2]]
        for name, operator in operators
        if name in _WEIGHTED
    ]
    inputs = {pair[0] for pair in pairs}
    if inputs == {_Type.FLOAT32}:
        if any(weights != _Type.FLOAT32 for _, weights in pairs):
            return "dynamic"
        halves = any(tensor.type == _Type.FLOAT16 for tensor in tensors)
        return "float16" if halves else "float32"
    if inputs == {_Type.INT8}:
        return "int8"
    if inputs == {_Type.INT16}:
        return "int16x8"
    raise ValueError(
        "There are rules for files whose convolutions and dense layers all "
        "take float32, int8 or int16 activations. "
        f"Received: path={str(path)!r}"
    )


def _step(graph, operators):
    (output,) = graph.outputs
    if graph.tensors[output].type != _Type.FLOAT32:
        return 1.0
    for name, operator in operators:
        if name == "DEQUANTIZE" and output in operator.outputs:
            source = graph.tensors[operator.inputs[0]]
            return float(source.quantization.scale[0])
    return None
