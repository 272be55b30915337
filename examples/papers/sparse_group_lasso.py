"""Nonconvex sparse group lasso (Bui, Park, Zhang, Qi, Xin 2021).

Penalties on weights, split off from the network, beside a group lasso of
filters and of the units that dense layers read, while the network trains.

    python examples/papers/sparse_group_lasso.py --seeds 0 1 2 3 4

The defaults are the authors' settings. `--solver splitting` evaluates W as
they do, `threshold` V, which has exact zeros, and `prox` takes the joint prox.
The baselines, group lasso, CGES and l0 gates, train by gradients.

What differs from the authors' code: a tenth of the training images is set
aside, and the last epoch counts, not the best one on the test images. V starts
at the threshold of W; more in docs/papers/sparse_group_lasso.md.
"""

import collections
import functools
import itertools

import keras

import keras_nonconvex as knc
from keras_nonconvex import experiments
from keras_nonconvex import models
from keras_nonconvex.experiments import STATISTICS
from keras_nonconvex.training import gates

OUT = "benchmarks/results/papers/sparse_group_lasso.json"
sgd = functools.partial(keras.optimizers.SGD, momentum=0.9, nesterov=True)
# `every`: the share of the training between two growths of beta; `decay`: of
# weights without a penalty; `suffix`: of the names of the layers that have one.
FIELDS = "strength beta every batch optimizer rate decay suffix"
Setting = collections.namedtuple("Setting", FIELDS)
RATE, WRN = (1e-3, 0.1, (0.2, 0.4, 0.6, 0.8)), (0.1, 0.2, (0.3, 0.6, 0.8))
ADAM = keras.optimizers.Adam
CNN = Setting(0.1, 25.0, 0.1, 100, ADAM, RATE, 5e-4 / 60000, "")
CIFAR = Setting(1e-3, 40.0, 0.1, 128, sgd, WRN, 5e-4, "_conv1")
NETWORKS = {"lenet5": CNN._replace(every=0.2), "cnn4": CNN}
NETWORKS |= dict.fromkeys(("wrn28_10", "wrn40_1"), CIFAR)
PENALTIES = {
    "group_lasso": knc.GroupLasso,
    "l1": knc.SparseGroupL1,
    "l0": knc.SparseGroupL0,
    "l1-l2": functools.partial(knc.SparseGroupL1L2, over="layer"),
    "l1-l2_groups": knc.SparseGroupL1L2,
    "tl1": knc.SparseGroupTL1,
    "scad": knc.SparseGroupSCAD,
    "cges": knc.ExclusiveSparsity,
    "l0_gates": None,
}
PROX, SUBGRADIENT = knc.solvers.ProximalGradient(), knc.solvers.Subgradient()
SOLVERS = ("splitting", "threshold", "prox")
BASELINES = ("group_lasso", "cges", "l0_gates")
KEYS = ("dataset", "network", "images", "epochs")
OWN = ("penalty", "strength", "solver")
MEASURED = ("error", "weights zero", "neurons zero", "exact weights")
MEASURED += ("exact neurons", "params left", "macs left", "error of the rest")


def arguments():
    choices = ("mnist", "cifar10", "cifar100"), tuple(NETWORKS)
    parser = experiments.parser(__doc__, *choices, tuple(PENALTIES), 200, OUT)
    parser.add_argument("--solver", default=SOLVERS[0], choices=SOLVERS)
    parser.add_argument("--strength", type=float, nargs="+", help="lambdas")
    parser.add_argument("--images", type=int, help="of the training images")
    args = parser.parse_args()
    if args.quick:
        args.epochs, args.images = min(args.epochs, 4), 6000
        args.penalty = args.penalty[-2:]
    return args


def terms(model, one, penalty, strength):
    """The penalty of each kernel that has one, by the layer's name."""
    layers = [layer for layer in model.layers if hasattr(layer, "kernel")]
    layers = [layer for layer in layers if layer.name.endswith(one.suffix)]
    for i, layer in enumerate(layers):
        dense = isinstance(layer, keras.layers.Dense)
        more, own = {"groups": ("filters", "input_channels")[dense]}, strength
        if penalty == "scad":
            more["knee"] = 1 / one.beta
        if penalty == "cges":
            own = i / len(layers) * strength
            more["group_strength"] = strength - own
        yield layer.name, PENALTIES[penalty](own, **more)


def compiled(args, data, penalty, strength, solver):
    """The network with its penalty; lambda is divided by the images."""
    one, images = NETWORKS[args.network], len(data.train)
    strength, beta = strength / images, strength / images * one.beta
    model = models.get(args.network)(data.train.shape, len(data.classes))
    if args.dataset in STATISTICS:
        model = experiments.normalized(model, *STATISTICS[args.dataset])
    if penalty == "l0_gates":
        model = gates.gated(model, strength)
    else:
        rules = dict(terms(model, one, penalty, strength))
        model = experiments.with_decay(model, one.decay, rules)
    every = max(round(one.every * args.epochs), 1)
    keep = "W" if solver == "splitting" else "V"
    split = knc.solvers.VariableSplitting(beta, 1.25, every, keep)
    how = {"prox": PROX, "gradient": SUBGRADIENT}.get(solver, split)
    rate = experiments.drops(*one.rate, args.epochs, images // one.batch)
    loss = "sparse_categorical_crossentropy"
    model.compile(one.optimizer(rate), loss, solver=how)
    return model


def measured(args, data, settings):
    """What a training leaves, and what removal leaves of that."""
    make = functools.partial(compiled, args, data, *(settings[k] for k in OWN))
    changes = {"crop": 4, "flip": True} if "cifar" in args.dataset else None
    path = experiments.file_of(args.work, settings)
    many = args.epochs, NETWORKS[args.network].batch, settings["seed"]
    model = experiments.trained(path, make, data.train, *many, changes)
    if settings["penalty"] == "l0_gates":
        model = gates.ungated(model)
    error = 1 - experiments.accuracy(model, data.test)
    near, exact = (experiments.near_zeros(model, t) for t in (1e-5, 0))
    small = knc.prune(experiments.cleared(model))
    before, after = knc.summary(model), knc.summary(small)
    left = after.params / before.params, after.macs / before.macs
    found = *near, *exact, *left, 1 - experiments.accuracy(small, data.test)
    return dict(zip(MEASURED, (error, *found), strict=True))


def main():
    args = arguments()
    data = experiments.part(knc.datasets.splits(args.dataset), args.images)
    columns = experiments.columns((*KEYS, *OWN), MEASURED, 2)
    notes = [f"`{experiments.command()}`"]
    table = experiments.Table(args.out, "Sparse group lasso", columns, notes)
    strengths = args.strength or [NETWORKS[args.network].strength]
    runs = itertools.product(args.seeds, strengths, args.penalty)
    for seed, strength, penalty in runs:
        gradient = penalty in BASELINES and args.solver != "prox"
        solver = "gradient" if gradient else args.solver
        settings = {key: getattr(args, key) for key in KEYS}
        settings |= dict(zip(OWN, (penalty, strength, solver), strict=True))
        settings["seed"] = seed
        table.row(settings, functools.partial(measured, args, data, settings))
    x, panels = ("error", "test error"), ("weights zero", "neurons zero")
    svg, by = args.out.with_suffix(".svg"), OWN[::2]
    experiments.curves(svg, table.rows, by, x, panels)


if __name__ == "__main__":
    main()
