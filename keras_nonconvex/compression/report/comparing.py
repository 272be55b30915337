"""The dense against the small network: sizes and times."""

from keras_nonconvex.run_folder import tflite_name

# Of other precisions only the sizes and times of these are compared.
_PRECISIONS = ("float32", "int8")


def rows(metrics):
    """Dense against chosen network: dicts of what, dense, small, ratio."""
    dense, small = metrics["dense"], metrics[metrics["chosen"]]
    made = [
        ("Parameters", dense["params"], small["params"], "{:,}"),
        ("MACs per image", dense["macs"], small["macs"], "{:,}"),
    ]
    for what, key, style in (
        ("File, {} (KB)", "bytes", "KB"),
        ("Latency, {} (ms)", "latency_ms", "{:.4f}"),
    ):
        for precision in _PRECISIONS:
            both = _files(metrics, precision)
            if None not in both:
                values = [file[key] for file in both]
                made.append((what.format(precision), *values, style))
    return [
        {
            "what": what,
            "dense": _format(first, style),
            "small": _format(second, style),
            "ratio": second / first,
        }
        for what, first, second, style in made
    ]


def latency(metrics):
    """What is left of the time of the dense network, in float32."""
    before, after = _files(metrics, "float32")
    return after["latency_ms"] / before["latency_ms"]


def _files(metrics, precision):
    """What was measured of the dense and of the chosen network's file."""
    names = ("dense", metrics["chosen"])
    return [metrics["tflite"].get(tflite_name(n, precision)) for n in names]


def _format(value, style):
    return f"{value / 1000:,.1f}" if style == "KB" else style.format(value)
