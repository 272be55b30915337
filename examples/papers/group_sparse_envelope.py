"""The weighted group sparse envelope (Refael, Arbel, Huleihel 2023).

How many filters stay is given beforehand: the penalty is the convex envelope of
"at most k groups are nonzero", and a half-space step zeroes groups that one
update turns too far. At the end exactly k groups live in every convolution.

    python examples/papers/group_sparse_envelope.py --network resnet18

`prox` is without the half-space step, `debiased` without the shrinkage of what
stays; `falling` lets k fall through half of training; `coupled` keeps k classes
of tied channels of the whole network; `max_active_groups` projects after each
update. "anew": accuracy with new batch-norm statistics; "found": the share of
the zeros asked for that were there before the last projection.

The paper's strength, k and epochs are not public: the settings are those of the
half-space optimizer that it trains with. What differs from its text: the
strength of each layer is found from the data, the half-space step never leaves
fewer than k groups, and a projection onto k groups ends the training.
"""

import itertools

import keras
import numpy as np

import keras_nonconvex as knc
import tflite_export
from keras_nonconvex import experiments
from keras_nonconvex import models

NETWORKS = {
    "lenet5": lambda shape, classes, width: models.lenet5(shape, classes),
    "resnet18": models.resnet18,
    "vgg16": models.vgg16,
    "mobilenet_v1": models.mobilenet_v1,
}
PENALTIES = ("envelope", "dense", "max_active_groups", "debiased", "prox")
PENALTIES += ("falling", "coupled")
GROUPS = ("filters", "input_channels", "kernels", "positions", "weights")
OUT = "benchmarks/results/papers/group_sparse_envelope.json"
RATE, BATCH, EPSILON = 0.1, 64, 0.9
KEYS = ("dataset", "network", "width", "images", "epochs", "groups")
KEYS += ("strength", "penalty", "percent")
MEASURED = ("accuracy", "anew", "layers with k", "found", "params left")
MEASURED += ("macs left", "latency")


def arguments():
    sets = ("fashion_mnist", "cifar10")
    parser = experiments.parser(
        __doc__, sets, tuple(NETWORKS), PENALTIES, 300, OUT
    )
    parser.add_argument("--groups", default="filters", choices=GROUPS)
    parser.add_argument("--percent", type=int, nargs="+", default=[50, 70, 90])
    parser.add_argument("--strength", type=float, help="default: found")
    parser.add_argument("--width", type=float, default=1.0)
    parser.add_argument("--images", type=int, help="of the training images")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.images, args.percent = min(args.epochs, 4), 6400, [70]
        args.penalty = args.penalty[:2]
    return args


def living(model, groups):
    """How many groups of each convolution live (or of all), of how many."""
    axes, convs = knc.GroupSparseEnvelope(groups=groups).group_axes(4), []
    if model.coupled is not None:
        axes, convs = (), [model.coupled.norms(model.coupled.variables)]
    else:
        convs = [v.kernel for v in model.layers if type(v).__name__ == "Conv2D"]
    convs = [keras.ops.convert_to_numpy(conv) != 0 for conv in convs]
    alive = [conv.any(axis=axes) for conv in convs]
    return np.array([(a.sum(), a.size) for a in alive]).T


def penalised(args, data, penalty, percent, strengths=None):
    """The network with its penalty, of one strength or one for each layer."""
    keep, shape = f"{100 - percent}%", data.train.shape
    model = NETWORKS[args.network](shape, len(data.classes), args.width)
    rules, options, epsilon = {}, {}, EPSILON
    strengths = strengths or {}
    one = strengths.get("coupled", args.strength or 1.0)
    if penalty in ("dense", "prox", "max_active_groups"):
        epsilon = None
    for layer in model.layers:
        if type(layer) is not keras.layers.Conv2D:
            continue
        strength = strengths.get(layer.kernel.path, args.strength or 1.0)
        if penalty == "max_active_groups":
            limit = knc.constraints.MaxActiveGroups(keep, args.groups)
            layer.kernel_constraint = layer.kernel.constraint = limit
        elif penalty not in ("dense", "coupled"):
            rules[layer.name] = knc.GroupSparseEnvelope(
                keep, strength, args.groups, debiased=penalty == "debiased"
            )
    if penalty == "coupled":
        options["coupled"] = knc.CoupledEnvelope(model, keep, one)
    steps = len(data.train) // BATCH
    rate = experiments.drops(RATE, 0.1, (0.25, 0.5, 0.75), args.epochs, steps)
    model = knc.attach(model, {**rules, "*": None})
    model.compile(
        keras.optimizers.SGD(rate),
        "sparse_categorical_crossentropy",
        solver=knc.solvers.ProximalGradient("auto", epsilon, args.epochs // 4),
        **options,
    )
    return model


def measured(args, data, settings):
    """What a training with a penalty leaves."""
    penalty, percent, seed = (
        settings[k] for k in ("penalty", "percent", "seed")
    )
    made, strengths = [], None
    if args.strength is None and penalty not in ("dense", "max_active_groups"):
        keras.utils.set_random_seed(seed)
        x, y = data.train.arrays(1280)
        model = penalised(args, data, penalty, percent)
        strengths = knc.strength_max(model, x, y, per_weight=True)

    def make():
        made.append(penalised(args, data, penalty, percent, strengths))
        return made[0]

    look = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda *_: made.append(living(made[0], args.groups))
    )
    falling = [knc.callbacks.CountSchedule()] * (penalty == "falling")
    augment = {"crop": 4, "flip": True} if "cifar" in args.dataset else None
    model = experiments.trained(
        experiments.file_of(args.work, settings),
        make,
        data.train,
        args.epochs,
        BATCH,
        seed,
        augment,
        callbacks=[*falling, look],
    )
    alive, total = living(model, args.groups)
    keep = knc.GroupSparseEnvelope(f"{100 - percent}%")
    k = np.array([keep.floor(n) for n in total])
    asked = (total - k).sum()
    small = knc.prune(model)
    after, before = knc.summary(small), knc.summary(model)
    row = {
        "accuracy": experiments.accuracy(small, data.test),
        "layers with k": float(np.mean(alive == k)),
        "found": None,
        "params left": after.params / before.params,
        "macs left": after.macs / before.macs,
        "latency": None if args.quick else latency(args, small, model),
        "living": alive.tolist(),
        "strengths": strengths,
    }
    if asked and len(made) > 1:
        row["found"] = float((made[-1][1] - made[-1][0]).sum() / asked)
    knc.recalibrate(small, data.train.arrays(2000)[0])
    return {**row, "anew": experiments.accuracy(small, data.test)}


def latency(args, *networks):
    """The time of an inference of the first network, in that of the second."""
    files = [args.work / f"{i}.tflite" for i in range(2)]
    for network, file in zip(networks, files, strict=True):
        tflite_export.convert(knc.strip(network), file)
    first, second = tflite_export.benchmark(files[0], against=files[1])
    return first.median_ms / second.median_ms


def main():
    args = arguments()
    data = experiments.part(knc.datasets.splits(args.dataset), args.images)
    columns = experiments.columns(KEYS, MEASURED)
    title, note = "Group sparse envelope", f"`{experiments.command()}`"
    table = experiments.Table(args.out, title, columns, [note])
    for run in itertools.product(args.seeds, args.penalty, args.percent):
        known = dict(zip(("seed", "penalty", "percent"), run, strict=True))
        known["percent"] *= known["penalty"] != "dense"
        settings = {key: {**vars(args), **known}[key] for key in KEYS}
        settings["seed"] = known["seed"]
        table.row(settings, lambda s=settings: measured(args, data, s))
    rows = [row for row in table.rows if row["penalty"] != "dense"]
    lines, x = ("network", "penalty"), ("percent", "groups that go, in percent")
    path = args.out.with_suffix(".svg")
    experiments.curves(path, rows, lines, x, ("accuracy", "anew"))


if __name__ == "__main__":
    main()
