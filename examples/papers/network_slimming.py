"""Nonconvex network slimming (Bui, Park, Zhang, Qi, Xin 2021).

A penalty on the scales of batch normalizations while the network trains, then
removal of the channels of the smallest scales, then training of what is left.

    python examples/papers/network_slimming.py --network resnet164

The defaults are the authors' settings. `--solver subgradient` is theirs, `prox`
makes scales exactly zero, `slimming` is that of Bui, Xue, Park, Qi, Xin 2023.
Test accuracies: trained with the penalty; pruned; refitted after that by
`knc.repair`, without labels; or trained after that without the penalty.

What differs from the authors' code: a tenth of the training images is set
aside, and the last epoch counts, not the best one on the test images; SVHN
trains without its "extra" images; convolutions start from N(0, 2 / fan-in); a
layer keeps one channel; channels of scale zero leave their constant to the
next layer; MCP and SCAD become flat at scales of 1.
"""

import functools
import itertools

import keras

import keras_nonconvex as knc
from keras_nonconvex import experiments
from keras_nonconvex import models
from keras_nonconvex import penalties
from keras_nonconvex.flops import slimming_flops

narrow = functools.partial(models.vgg11, width=0.25)
# Strength, shares that go, strength and beta of proximal slimming.
NETWORKS = {
    "vgg19": (models.vgg19, 1e-4, [0.7], 4.5e-3, 100.0),
    "resnet164": (models.get("resnet164"), 1e-5, [0.4, 0.6], 2e-3, 0.25),
    "densenet40": (models.densenet40, 1e-5, [0.4, 0.6], 4e-3, 100.0),
    "vgg11_quarter": (narrow, 1e-4, [0.7], 4.5e-3, 100.0),
}
PENALTIES = {
    "l1": lambda strength: penalties.L1(),
    "l3/4": lambda strength: penalties.Lp(0.75),
    "l1/2": lambda strength: penalties.Lp(0.5),
    "tl1_a.5": lambda strength: penalties.TransformedL1(0.5),
    "tl1_a1": lambda strength: penalties.TransformedL1(1.0),
    "tl1_a10": lambda strength: penalties.TransformedL1(10.0),
    "mcp": lambda strength: penalties.MCP(1.0 / strength),
    "scad": lambda strength: penalties.SCAD(1.0 / strength),
}
SOLVERS = {
    "subgradient": lambda beta: knc.solvers.Subgradient(),
    "prox": lambda beta: knc.solvers.ProximalGradient(),
    "slimming": lambda b: knc.solvers.ProximalSlimming(b, "learning_rate"),
}
OUT = "benchmarks/results/papers/network_slimming.json"
DECAY, RATE, BATCH = 1e-4, 0.1, 64
ACCURACIES = ("trained", "pruned", "refitted", "fine-tuned")
MEASURED = ("params left", "macs left", "flops left", *ACCURACIES)


def arguments():
    choices = map(tuple, (experiments.STATISTICS, NETWORKS, PENALTIES))
    parser = experiments.parser(__doc__, *choices, 160, OUT)
    parser.add_argument("--solver", default="subgradient", choices=SOLVERS)
    parser.add_argument("--strength", type=float, help="default: the paper's")
    parser.add_argument("--percent", type=float, nargs="+", help="as in .7")
    parser.add_argument("--fine-tune", type=int, help="default: --epochs")
    args = parser.parse_args()
    args.images = 9600 if args.quick else None
    if args.quick:
        args.network, args.strength = "vgg11_quarter", 1e-3
        args.epochs, args.penalty = min(args.epochs, 4), args.penalty[:1]
    args.make, theirs, percent, slimming, args.beta = NETWORKS[args.network]
    theirs = slimming if args.solver == "slimming" else theirs
    args.strength = args.strength or theirs
    args.percent = args.percent or percent
    args.fine_tune = args.fine_tune or args.epochs
    return args


def fitted(data, args, settings, make, epochs, scales=None):
    """The network that a training with decay on all weights leaves."""
    steps = len(data.train) // BATCH
    rules = {"*/gamma": scales} if scales else {}

    def compiled():
        model = experiments.with_decay(make(), DECAY, rules)
        rate = experiments.drops(RATE, 0.1, (0.5, 0.75), epochs, steps)
        sgd = keras.optimizers.SGD(rate, momentum=0.9)
        solver = SOLVERS[args.solver](args.beta)
        model.compile(sgd, "sparse_categorical_crossentropy", solver=solver)
        return model

    changes = {"crop": 4, "flip": True} if "cifar" in args.dataset else None
    path = experiments.file_of(args.work, settings)
    return experiments.trained(
        path, compiled, data.train, epochs, BATCH, settings["seed"], changes
    )


def measured(data, args, settings, percent):
    """What is left without the channels of the smallest scales."""
    penalty = PENALTIES[settings["penalty"]](args.strength)
    scales = knc.Elementwise(penalty, args.strength, decay=DECAY)

    def make():
        model = args.make(data.train.shape, len(data.classes))
        known = experiments.STATISTICS.get(args.dataset, (0.5, 0.25))
        return experiments.normalized(model, *known)

    model = fitted(data, args, settings, make, args.epochs, scales)
    plan = knc.pruning.plan(
        model, "bn_scale", {"channels": 1 - percent}, 1, select=True
    )
    small, (x, _) = plan.apply(model), data.train.arrays(2000)
    refitted, _ = knc.repair(small, plan, model, x, verbose=False)
    before, after = knc.summary(model), knc.summary(small)
    flops = slimming_flops(small) / slimming_flops(model)
    left = after.params / before.params, after.macs / before.macs, flops
    settings = {**settings, "fine_tune": args.fine_tune, "percent": percent}
    cut = functools.partial(plan.apply, model)
    tuned = fitted(data, args, settings, cut, args.fine_tune)
    networks = (model, small, refitted, tuned)
    found = [experiments.accuracy(network, data.test) for network in networks]
    return dict(zip(MEASURED, (*left, *found), strict=True))


def main():
    args = arguments()
    data = experiments.part(knc.datasets.splits(args.dataset), args.images)
    keys = ("dataset", "network", "images", "solver", "strength", "epochs")
    own = (*keys, "penalty", "fine_tune", "percent")
    columns = experiments.columns(own, MEASURED)
    note = f"`{experiments.command()}`"
    table = experiments.Table(args.out, "Network slimming", columns, [note])
    runs = itertools.product(args.seeds, args.penalty, args.percent)
    for seed, penalty, percent in runs:
        settings = {key: getattr(args, key) for key in keys}
        settings |= {"penalty": penalty, "seed": seed}
        table.row(
            {"fine_tune": args.fine_tune, "percent": percent, **settings},
            functools.partial(measured, data, args, settings, percent),
        )
    lines, x = ("penalty", "strength", "solver"), ("percent", "share gone")
    svg = args.out.with_suffix(".svg")
    experiments.curves(svg, table.rows, lines, x, ACCURACIES[1:])


if __name__ == "__main__":
    main()
