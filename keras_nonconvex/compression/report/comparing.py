"""The dense against the small network: sizes and times."""

from keras_nonconvex.run_folder import tflite_name


def rows(metrics):
    """Dense against chosen network: dicts of what, dense, small, ratio."""
    chosen = metrics["chosen"]
    dense, small = metrics["dense"], metrics[chosen]
    before = metrics["tflite"][tflite_name("dense", "float32")]
    after = metrics["tflite"][tflite_name(chosen, "float32")]
    made = [
        ("Parameters", dense["params"], small["params"], "{:,}"),
        ("MACs per image", dense["macs"], small["macs"], "{:,}"),
        ("File, float32 (KB)", before["bytes"], after["bytes"], "KB"),
    ]
    smallest = metrics["tflite"].get(tflite_name(chosen, "int8"))
    if smallest is not None:
        made.append(
            ("File, int8 (KB)", before["bytes"], smallest["bytes"], "KB")
        )
    times = before["latency_ms"], after["latency_ms"]
    made.append(("Latency, float32 (ms)", *times, "{:.4f}"))
    return [
        {
            "what": what,
            "dense": _format(first, style),
            "small": _format(second, style),
            "ratio": second / first,
        }
        for what, first, second, style in made
    ]


def _format(value, style):
    return f"{value / 1000:,.1f}" if style == "KB" else style.format(value)
