"""The weighted group sparse envelope (Refael, Arbel, Huleihel 2023).

The penalty is the convex envelope of "at most k groups live", and a half-space
step zeroes groups that turn too far. In the end exactly k live in each layer.

    python examples/papers/group_sparse_envelope.py --network resnet18

`prox` is without the half-space step, `debiased` without the shrinkage of what
stays; `falling` lets k fall through half of training; `coupled` keeps k classes
of tied channels of the whole network; `max_active_groups` projects after each
update. "anew": with new batch-norm statistics; "found": the share of the zeros
asked for that were there before the last projection.

The paper's strength, k and epochs are not public: the settings are those of the
half-space optimizer that it trains with. What differs from its text: the
strength of each layer is found from the data, the half-space step never leaves
fewer than k groups, and a projection onto k groups ends the training.
"""

import functools
import itertools

import keras

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
RATE, BATCH, EPSILON, LOSS = 0.1, 64, 0.9, "sparse_categorical_crossentropy"
KEYS = ("dataset", "network", "width", "images", "epochs", "groups")
KEYS += ("strength", "penalty", "percent", "seed")
MEASURED = ("accuracy", "anew", "layers with k", "found", "params left")
MEASURED += ("macs left", "latency")


def arguments():
    choices = ("fashion_mnist", "cifar10"), tuple(NETWORKS), PENALTIES
    parser = experiments.parser(__doc__, *choices, 300, OUT)
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


def penalised(args, data, penalty, keep, strengths):
    """The network with its penalty; without strengths, those of --strength."""
    shape, classes = data.train.shape, len(data.classes)
    model = NETWORKS[args.network](shape, classes, args.width)
    convolutions = experiments.convolutions(model)
    paths = [layer.kernel.path for layer in convolutions]
    strengths = strengths or dict.fromkeys(paths, args.strength or 1.0)
    rules, coupled, solver = {}, None, knc.solvers.ProximalGradient
    if penalty not in ("dense", "prox", "max_active_groups"):
        solver = functools.partial(solver, "auto", EPSILON, args.epochs // 4)
    if penalty == "max_active_groups":
        for layer in convolutions:
            limit = knc.constraints.MaxActiveGroups(keep, args.groups)
            layer.kernel_constraint = layer.kernel.constraint = limit
    elif penalty == "coupled":
        coupled = knc.CoupledEnvelope(model, keep, max(strengths.values()))
    elif penalty != "dense":
        for name, strength in strengths.items():
            rules[name] = knc.GroupSparseEnvelope(
                keep, strength, args.groups, debiased=penalty == "debiased"
            )
    steps = len(data.train) // BATCH
    rate = experiments.drops(RATE, 0.1, (0.25, 0.5, 0.75), args.epochs, steps)
    model = knc.attach(model, {**rules, "*": None})
    sgd = keras.optimizers.SGD(rate)
    model.compile(sgd, LOSS, solver=solver(), coupled=coupled)
    return model


def measured(args, data, settings):
    """What a training with a penalty leaves."""
    keep, penalty = f"{100 - settings['percent']}%", settings["penalty"]
    make = functools.partial(penalised, args, data, penalty, keep)
    strengths, seed = None, settings["seed"]
    if not (args.strength or penalty in ("dense", "max_active_groups")):
        keras.utils.set_random_seed(seed)
        x, y = data.train.arrays(1280)
        strengths = knc.strength_max(make(None), x, y, per_weight=True)
    seen = experiments.Living(args.groups)
    falling = [knc.callbacks.CountSchedule()] * (penalty == "falling")
    model = experiments.trained(
        experiments.file_of(args.work, settings),
        functools.partial(make, strengths),
        *(data.train, args.epochs, BATCH, seed),
        {"crop": 4, "flip": True} if "cifar" in args.dataset else None,
        callbacks=[*falling, seen],
    )
    alive, total = experiments.living(model, args.groups)
    k = [knc.GroupSparseEnvelope(keep).floor(n) for n in total]
    small, found = knc.prune(model), None
    if seen.found is not None and (total > k).any():
        found = float((total - seen.found[0]).sum() / (total - k).sum())
    after, before = knc.summary(small), knc.summary(model)
    row = {"layers with k": float((alive == k).mean()), "found": found}
    row["accuracy"] = experiments.accuracy(small, data.test)
    row["params left"] = after.params / before.params
    row["macs left"] = after.macs / before.macs
    row["latency"] = None if args.quick else latency(args, small, model)
    knc.recalibrate(small, data.train.arrays(2000)[0])
    return {**row, "anew": experiments.accuracy(small, data.test)}


def latency(args, *networks):
    """The time of an inference of the first network, in that of the second."""
    files = [args.work / "small.tflite", args.work / "whole.tflite"]
    for network, file in zip(networks, files, strict=True):
        tflite_export.convert(knc.strip(network), file)
    first, second = tflite_export.benchmark(files[0], against=files[1])
    return first.median_ms / second.median_ms


def main():
    args = arguments()
    data = experiments.part(knc.datasets.splits(args.dataset), args.images)
    columns = experiments.columns(KEYS[:-1], MEASURED)
    title, notes = "Group sparse envelope", [f"`{experiments.command()}`"]
    table = experiments.Table(args.out, title, columns, notes)
    for run in itertools.product(args.seeds, args.penalty, args.percent):
        known = dict(zip(("seed", "penalty", "percent"), run, strict=True))
        known["percent"] *= known["penalty"] != "dense"
        settings = {key: {**vars(args), **known}[key] for key in KEYS}
        table.row(settings, lambda s=settings: measured(args, data, s))
    lines, x = ("network", "penalty"), ("percent", "groups that go, %")
    figure = args.out.with_suffix(".svg")
    experiments.curves(figure, table.rows, lines, x, MEASURED[:2])


if __name__ == "__main__":
    main()
