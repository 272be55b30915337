"""Hierarchical group sparsity, channels chosen by the loss (Mitsuno, Kurita).

A penalty on the 2-D kernels inside channels while the network trains; then the
channels go whose absence raises the loss on random training images least, one
round after the other; then what is left trains without the penalty.

    python examples/papers/hierarchical_group_sparse.py

The defaults are the authors' settings; their penalty is hsq-gl1/2, and L1 has
half of the strength. `--solver subgradient` is theirs; `proximal_gradient`
makes weights exactly zero where a form has a prox. `none` trains without a
penalty; with `nothing` all channels stay and train on all the same.

What differs from the authors' code: a tenth of the training images is set
aside, epochs are of whole batches, convolutions start from N(0, 2 / fan-in).
How they select, when they stop and how they train what is left is not public.
Here each of ten rounds looks at all channels that are left, with 256 new
images; the loss on 1,024 images may rise by `--max-rise`, or the share
`--params` of the parameters stays; then the same schedule runs again.
"""

import functools
import itertools

import keras
import numpy as np

import keras_nonconvex as knc
from keras_nonconvex import experiments

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BASES = {"gl1/2": "group_half", "gl": "group_lasso", "es": "exclusive"}
WRAPS = {"hsq-": "square", "hsr-": "root", "": "none"}
# Name -> the share of the strength that L1 does not have, base and wrap.
PENALTIES = {
    **{w + b: (0.5, BASES[b], WRAPS[w]) for b in BASES for w in WRAPS},
    "l1": (0.0,),
    "none": None,
}
OUT = "benchmarks/results/papers/hierarchical_group_sparse.json"
RATE, BATCH, DECAY = 0.01, 128, 5e-4
MEASURED = ("below .001", "params left", "macs left")
ACCURACIES = ("trained", "pruned", "retrained")


def arguments():
    networks = ("resnet18_thin", "alexnet", "vgg_a")
    names = ("cifar10", "cifar100", "stl10"), networks, tuple(PENALTIES)
    parser = experiments.parser(__doc__, *names, 100, OUT)
    solvers = "subgradient", "proximal_gradient"
    parser.add_argument("--solver", default=solvers[0], choices=solvers)
    parser.add_argument("--grouping", default="feature", help="or neuron")
    parser.add_argument("--strength", type=float, default=1e-3)
    parser.add_argument("--max-rise", type=float, nargs="*", default=[0.1])
    parser.add_argument("--params", type=float, nargs="*", default=[0.5])
    parser.add_argument("--retrain", type=int, help="default: --epochs")
    args = parser.parse_args()
    args.images, args.rounds = (12_800, 2) if args.quick else (None, 10)
    if args.quick:
        args.epochs, args.penalty = min(args.epochs, 4), args.penalty[:1]
        args.network, args.params, args.strength = "alexnet", [], 1e-4
    args.retrain = args.retrain or args.epochs
    rises = {f"loss + {rise:g}": {"max_rise": rise} for rise in args.max_rise}
    shares = {f"params {s:.0%}": {"budget": {"params": s}} for s in args.params}
    args.stops = {**shares, **rises, "nothing": None}
    return args


def penalised(layer):
    convolution = isinstance(layer, keras.layers.Conv2D)
    return convolution and "shortcut" not in layer.name


def fitted(data, args, settings, make, epochs, rules=()):
    """The network that a training with decay on all weights leaves."""
    steps = len(data.train) // BATCH
    thirds = [i * (epochs // 3) / epochs for i in (1, 2, 3)]

    def compiled():
        model = experiments.with_decay(make(), DECAY, rules)
        rate = experiments.drops(RATE, 0.2, thirds, epochs, steps)
        sgd = keras.optimizers.SGD(rate, momentum=0.9)
        solver = knc.solvers.get(args.solver)
        model.compile(sgd, "sparse_categorical_crossentropy", solver=solver)
        return model

    changes = {"crop": 4, "flip": True} if data.train.shape[-1] == 3 else None
    path = experiments.file_of(args.work, settings)
    return experiments.trained(
        path, compiled, data.train, epochs, BATCH, settings["seed"], changes
    )


def measured(data, args, settings, stop):
    """One penalty and one stop rule, up to the trained compact network."""
    rules, penalty = {}, PENALTIES[settings["penalty"]]
    if penalty is not None:
        rules[penalised] = knc.HierarchicalGroup.released(
            args.strength, *penalty, grouping=args.grouping, decay=DECAY
        )

    def make():
        network = knc.models.get(args.network)
        model = network(data.train.shape, len(data.classes))
        known = IMAGENET if data.train.shape[-1] == 3 else (0.5, 0.25)
        return experiments.normalized(model, *known)

    small = model = fitted(data, args, settings, make, args.epochs, rules)
    if args.stops[stop]:
        samples = data.train.arrays(10_000, settings["seed"])
        rise = knc.pruning.criteria.LossRise(
            samples, mode="greedy", rounds=args.rounds, candidates=1.0
        )
        options = {"round_to": 1, "per": None, **args.stops[stop]}
        small = knc.pruning.plan(model, rise, **options).apply(model)
    found = [experiments.accuracy(m, data.test) for m in (model, small)]
    kernels = [layer.kernel for layer in model.layers if penalised(layer)]
    tiny = np.concatenate([np.abs(np.ravel(k)) < 1e-3 for k in kernels]).mean()
    before, after = knc.summary(model), knc.summary(small)
    left = after.params / before.params, after.macs / before.macs
    settings = {**settings, "retrain": args.retrain, "stop": stop}
    tuned = fitted(data, args, settings, lambda: small, args.retrain)
    found.append(experiments.accuracy(tuned, data.test))
    values = (float(tiny), *left, *found)
    return dict(zip((*MEASURED, *ACCURACIES), values, strict=True))


def main():
    args = arguments()
    data = experiments.part(knc.datasets.splits(args.dataset), args.images)
    keys = "dataset", "network", "images", "solver", "grouping", "strength"
    own = "epochs", "penalty", "retrain", "stop"
    columns = experiments.columns((*keys, *own), (*MEASURED, *ACCURACIES))
    notes = [f"`{experiments.command()}`"]
    table = experiments.Table(args.out, "Hierarchical sparsity", columns, notes)
    runs = itertools.product(args.seeds, args.penalty, args.stops)
    for seed, penalty, stop in runs:
        settings = {key: getattr(args, key) for key in (*keys, "epochs")}
        settings |= {"penalty": penalty, "seed": seed}
        settings["strength"] *= penalty != "none"
        table.row(
            {"retrain": args.retrain, "stop": stop, **settings},
            functools.partial(measured, data, args, settings, stop),
        )
    x, path = ("params left", "parameters left"), args.out.with_suffix(".svg")
    experiments.curves(path, table.rows, ["penalty"], x, ACCURACIES[1:])


if __name__ == "__main__":
    main()
