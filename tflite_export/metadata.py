"""Labels and normalisation inside a LiteRT file (TFLite Metadata).

The file format is that of TensorFlow's metadata_schema.fbs, identifier M001:
a `ModelMetadata` table in a buffer named TFLITE_METADATA, and the label file
as a zip archive after the model. MediaPipe and Android Studio read it.
"""

import dataclasses
import io
import pathlib
import zipfile

import flatbuffers
import numpy as np
from flatbuffers import number_types
from flatbuffers import table

from keras_nonconvex import files
from keras_nonconvex import ranges
from tflite_export import flatfile

_BUFFER, _IDENTIFIER, _LABELS = "TFLITE_METADATA", b"M001", "labels.txt"

# Field numbers of metadata_schema.fbs.
_MODEL = {"name": 0, "description": 1, "version": 2, "subgraphs": 3}
_SUBGRAPH = {"inputs": 2, "outputs": 3}
_TENSOR = {"name": 0, "content": 3, "steps": 4, "stats": 5, "files": 6}
_CONTENT = {"type": 0, "properties": 1}
_IMAGE = {"color_space": 0}
_STEP = {"type": 0, "options": 1}
_NORMALIZATION = {"mean": 0, "std": 1}
_STATS = {"max": 0, "min": 1}
_FILE = {"name": 0, "description": 1, "type": 2}
# Values of its enumerations and unions.
_IMAGE_PROPERTIES, _NORMALIZATION_OPTIONS, _AXIS_LABELS = 2, 1, 2
# Number of channels -> grey or RGB.
_COLOR_SPACES = {1: 2, 3: 1}
# The mean and std of inputs in [0, 1].
_UNIT = (0.0,), (255.0,)


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What an app must know to feed a file and to read its answer.

    The network's input is `(pixel - mean) / std`, with pixels from 0 to 255.
    Where `mean` and `std` are left out, `convert` finds them by the first
    layers of the model: 0 and 1 for one that starts with `Rescaling(1 / 255)`.

    Args:
        labels: Class names of one line each, in the order of the network's
            outputs. Defaults to `()`.
        mean: A number, or one per channel. Defaults to `None`: what the
            model says, else 0.
        std: A number above 0, or as many as `mean`. Defaults to `None`: what
            the model says, else 255, for inputs in [0, 1].
        name: str. The name of the model. Defaults to `""`.
        description: str. A sentence about the model. Defaults to `""`.

    Example:
    >>> about = tflite_export.Metadata(["cat", "dog"], mean=127.5, std=127.5)
    >>> tflite_export.convert(model, "model.tflite", metadata=about)
    """

    labels: tuple = ()
    mean: tuple | None = None
    std: tuple | None = None
    name: str = ""
    description: str = ""

    def __post_init__(self):
        object.__setattr__(self, "labels", tuple(self.labels))
        for label in self.labels:
            if not isinstance(label, str) or len(label.splitlines()) != 1:
                raise ValueError(
                    "Argument `labels` must be names of one line each. "
                    f"Received: {label!r}"
                )
        if self.mean is None and self.std is None:
            return
        for field, default in zip(("mean", "std"), _UNIT, strict=True):
            value = getattr(self, field)
            value = default if value is None else np.atleast_1d(value).tolist()
            object.__setattr__(self, field, tuple(value))
        numbers = np.array([*self.mean, *self.std], dtype="float64")
        if (
            len(self.mean) != len(self.std)
            or len(self.mean) not in (1, 3, 4)
            or not np.isfinite(numbers).all()
            or min(self.std) <= 0
        ):
            raise ValueError(
                "Arguments `mean` and `std` must be one number each, or one "
                "per channel, and `std` positive. "
                f"Received: mean={self.mean}, std={self.std}"
            )

    @property
    def input_range(self):
        """The least and the largest value of the network's input."""
        said = self.completed()
        mean, std = np.array(said.mean), np.array(said.std)
        return float(((0 - mean) / std).min()), float(
            ((255 - mean) / std).max()
        )

    def completed(self, model=None):
        """The metadata with `mean` and `std`, found where they are left out.

        Args:
            model: The Keras model whose first layers say what it takes.
                Defaults to `None`: one that takes [0, 1].

        Raises:
            ValueError: The given `mean` and `std` are not what the first
                layers of the model say.
        """
        said = ranges.of(model) if model else []
        takes = next(filter(None, said), None)
        if self.mean is None:
            low, high = takes or ranges.UNIT
            std = 255 / (high - low)
            return dataclasses.replace(
                self, mean=(0.0 - low * std,), std=(std,)
            )
        if takes and ranges.differ(self.input_range, takes):
            raise ValueError(
                "Arguments `mean` and `std` must be left out or give what the "
                f"first layers of the model take, {takes.low:g} to "
                f"{takes.high:g}. Received: mean={self.mean}, std={self.std}, "
                "which give {:g} to {:g}".format(*self.input_range)
            )
        return self


def write(path, metadata):
    """Puts `Metadata` into a LiteRT file, in the place of older metadata.

    What the file computes does not change. Where it has several inputs, the
    normalisation is that of its images; where it has several outputs, the
    labels are those of the output that has as many values.

    Args:
        path: str or path. A `.tflite` file; it is replaced as a whole.
        metadata: A `Metadata` with no labels, or one for each value of an
            output.
    """
    path, metadata = pathlib.Path(path), metadata.completed()
    model = flatfile.read(path)
    graph = model.subgraphs[0]
    sources, targets = (
        [graph.tensors[i] for i in ids] for ids in (graph.inputs, graph.outputs)
    )
    named = _names(model, sources, targets)
    images = [s for s in sources if len(sources) == 1 or len(s.shape) == 4]
    labelled = _labelled(metadata, targets, path)
    _check(metadata, images, path)
    # The new entry goes last: an older one is dropped without renumbering.
    kept = [m for m in model.metadata or [] if m.name != _BUFFER.encode()]
    buffer = flatfile.schema.BufferT()
    buffer.data = np.frombuffer(
        _packed(metadata, sources, named, images, labelled), "uint8"
    )
    model.buffers.append(buffer)
    entry = flatfile.schema.MetadataT()
    entry.name, entry.buffer = _BUFFER, len(model.buffers) - 1
    model.metadata = [*kept, entry]
    archive = io.BytesIO(flatfile.packed(model))
    if metadata.labels:
        archive.seek(0, io.SEEK_END)
        with zipfile.ZipFile(archive, "a", zipfile.ZIP_STORED) as stored:
            # The date is fixed, so that equal models give equal files.
            name = zipfile.ZipInfo(_LABELS)
            stored.writestr(name, "".join(f"{x}\n" for x in metadata.labels))
    with files.replacing(path) as temporary:
        temporary.write_bytes(archive.getvalue())


def read(path):
    """The `Metadata` of a LiteRT file, or None if it has none.

    Args:
        path: str or path. A `.tflite` file.
    """
    packed = flatfile.notes(flatfile.read(path)).get(_BUFFER)
    return None if packed is None else _unpacked(packed, _labels(path))


def _labels(path):
    if not zipfile.is_zipfile(path):
        return ()
    with zipfile.ZipFile(path) as archive:
        if _LABELS not in archive.namelist():
            return ()
        return tuple(archive.read(_LABELS).decode().splitlines())


def _names(model, sources, targets):
    """What the metadata calls inputs and outputs: by the signature."""
    if (len(sources), len(targets)) == (1, 1):
        return ["image"], ["probability"]
    tensors = model.subgraphs[0].tensors
    known = {
        id(tensors[one.tensorIndex]): one.name.decode()
        for signature in model.signatureDefs or []
        for one in (*signature.inputs, *signature.outputs)
    }
    return tuple(
        [known.get(id(t), t.name.decode()) for t in ends]
        for ends in (sources, targets)
    )


def _labelled(metadata, targets, path):
    """The place of the output that the labels name, or None."""
    if not metadata.labels:
        return None
    sizes = [int(target.shape[-1]) for target in targets]
    if sizes.count(len(metadata.labels)) != 1:
        raise ValueError(
            "Argument `labels` must have one name for each of "
            f"{' or '.join(map(str, sizes))} outputs, and tell which output. "
            f"Received: {len(metadata.labels)} for {str(path)!r}"
        )
    return sizes.index(len(metadata.labels))


def _check(metadata, images, path):
    for source in images:
        if len(metadata.mean) not in (1, int(source.shape[-1])):
            raise ValueError(
                "Arguments `mean` and `std` must have 1 or "
                f"{int(source.shape[-1])} values. "
                f"Received: {len(metadata.mean)} for {str(path)!r}"
            )


def _packed(metadata, sources, named, images, labelled):
    """The ModelMetadata table as bytes.

    Args:
        metadata: A `Metadata`.
        sources: The tensors of the inputs.
        named: The names of the inputs and of the outputs, two lists.
        images: Those of the inputs that are normalised.
        labelled: The place of the output with labels, or None.
    """
    builder = flatbuffers.Builder(1024)
    low, high = metadata.input_range

    def make(fields, **values):
        builder.StartObject(max(fields.values()) + 1)
        for key, value in values.items():
            if isinstance(value, _Byte):
                builder.PrependByteSlot(fields[key], value, 0)
            else:
                builder.PrependUOffsetTRelativeSlot(fields[key], value, 0)
        return builder.EndObject()

    def many(tables):
        builder.StartVector(4, len(tables), 4)
        for one in reversed(tables):
            builder.PrependUOffsetTRelative(one)
        return builder.EndVector()

    def floats(values):
        return builder.CreateNumpyVector(np.array(values, "float32"))

    def normalised(source):
        step = make(
            _STEP,
            type=_Byte(_NORMALIZATION_OPTIONS),
            options=make(
                _NORMALIZATION,
                mean=floats(metadata.mean),
                std=floats(metadata.std),
            ),
        )
        image = {
            "steps": many([step]),
            "stats": make(_STATS, max=floats([high]), min=floats([low])),
        }
        shape = [int(n) for n in source.shape]
        if len(shape) == 4 and shape[-1] in _COLOR_SPACES:
            space = _Byte(_COLOR_SPACES[shape[-1]])
            image["content"] = make(
                _CONTENT,
                type=_Byte(_IMAGE_PROPERTIES),
                properties=make(_IMAGE, color_space=space),
            )
        return image

    def classes():
        names = make(
            _FILE,
            name=builder.CreateString(_LABELS),
            description=builder.CreateString("class names"),
            type=_Byte(_AXIS_LABELS),
        )
        return {"files": many([names])}

    def tensor(name, **fields):
        return make(_TENSOR, name=builder.CreateString(name), **fields)

    inputs = [
        tensor(name, **(normalised(s) if any(s is i for i in images) else {}))
        for name, s in zip(named[0], sources, strict=True)
    ]
    outputs = [
        tensor(name, **(classes() if place == labelled else {}))
        for place, name in enumerate(named[1])
    ]
    inputs, outputs = many(inputs), many(outputs)
    subgraphs = many([make(_SUBGRAPH, inputs=inputs, outputs=outputs)])
    model = make(
        _MODEL,
        name=builder.CreateString(metadata.name),
        description=builder.CreateString(metadata.description),
        subgraphs=subgraphs,
    )
    builder.Finish(model, file_identifier=_IDENTIFIER)
    return bytes(builder.Output())


class _Byte(int):
    """A number for a byte field; other fields hold offsets."""


def _unpacked(data, labels):
    """`Metadata` from the bytes of a ModelMetadata table."""
    root = table.Table(data, _first_offset(data))
    subgraphs = _tables(root, _MODEL["subgraphs"])
    tensors = _tables(subgraphs[0], _SUBGRAPH["inputs"]) if subgraphs else []
    steps = [s for one in tensors for s in _tables(one, _TENSOR["steps"])]
    values = {}
    for step in steps:
        if _byte(step, _STEP["type"]) == _NORMALIZATION_OPTIONS:
            options = _inner(step, _STEP["options"])
            for key, number in _NORMALIZATION.items():
                values[key] = _floats(options, number)
    return Metadata(
        labels=labels,
        name=_string(root, _MODEL["name"]),
        description=_string(root, _MODEL["description"]),
        **values,
    )


def _first_offset(data):
    return int.from_bytes(data[:4], "little")


def _offset(parent, number):
    return parent.Offset(4 + 2 * number)


def _byte(parent, number):
    where = _offset(parent, number)
    kind = number_types.Uint8Flags
    return parent.Get(kind, parent.Pos + where) if where else 0


def _string(parent, number):
    where = _offset(parent, number)
    return parent.String(parent.Pos + where).decode() if where else ""


def _inner(parent, number):
    where = parent.Pos + _offset(parent, number)
    return table.Table(parent.Bytes, parent.Indirect(where))


def _tables(parent, number):
    where = _offset(parent, number)
    if not where:
        return []
    start = parent.Vector(where)
    return [
        table.Table(parent.Bytes, parent.Indirect(start + 4 * i))
        for i in range(parent.VectorLen(where))
    ]


def _floats(parent, number):
    where = _offset(parent, number)
    return parent.GetVectorAsNumpy(number_types.Float32Flags, where).tolist()
