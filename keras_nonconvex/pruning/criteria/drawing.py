"""What criteria that look at samples have in common: the samples."""

from keras_nonconvex import checks
from keras_nonconvex import samples


def drawn(trace, data, most, seed):
    """Random samples of (x, y).

    Args:
        trace: A `Trace`.
        data: As in `plan`.
        most: An int: at most so many samples.
        seed: The seed of the choice, an int.
    """
    x, y = samples.read(
        trace.model, *samples.pair(data), most, name="data", seed=seed
    )
    if y is None:
        raise ValueError(
            "Argument `data` must be (x, y), or a dataset with targets. "
            "Received: inputs alone"
        )
    return x, y


def inputs(trace, data, most, seed):
    """Random samples; targets are left out.

    Args:
        trace: A `Trace`.
        data: As in `plan`, or an array of samples.
        most: An int: at most so many samples.
        seed: The seed of the choice, an int.
    """
    x, _ = samples.read(trace.model, *_pair(data), most, name="data", seed=seed)
    return x


def check(settings, labels=True):
    """Refuses settings of a criterion that cannot work for any model.

    Args:
        settings: A criterion with `data`, `samples` and `batch_size`.
        labels: Whether the criterion looks at labels. Defaults to `True`.
    """
    given = samples.pair(settings.data) if labels else _pair(settings.data)
    sizes = {len(part) for part in given if hasattr(part, "shape")}
    if len(sizes) > 1:
        raise ValueError(
            "Argument `data` needs as many labels as samples. "
            f"Received: {sorted(sizes)}"
        )
    checks.whole("samples", settings.samples, 1)
    checks.whole("batch_size", settings.batch_size, 1)


def _pair(data):
    """(x, y) of data that may be an array of samples alone."""
    return (data, None) if hasattr(data, "shape") else samples.pair(data)
