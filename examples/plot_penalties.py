"""Every penalty and every prox of the package, in one figure.

    python examples/plot_penalties.py [--out docs/penalties.png]

Scalar penalties are found in the registry, so a new one shows up by itself.
Left in each pair: the penalty r(t). Right: its prox at three steps, one of
them beyond the step at which it starts to jump. The two vector penalties are
drawn for the vector (t, 1/2); below, how six group regularizers move two
groups of one weight each.
"""

import argparse
import dataclasses

import matplotlib
import numpy as np
from keras import ops

import keras_nonconvex as knc
from keras_nonconvex import files
from keras_nonconvex import penalties

matplotlib.use("Agg")
from matplotlib import pyplot as plt

PAIRS_PER_ROW = 3
STEPS = (0.1, 0.3, 0.9)
COLORS = ("#2a6f97", "#e07a1f", "#b3261e")
# Parameters at which a penalty's shape is seen on [0, 2].
SHAPES = {
    "TransformedL1": {"a": 0.5},
    "LogSum": {"epsilon": 0.4},
    "CappedL1": {"theta": 0.7},
    "MCP": {"gamma": 1.5, "knee": 0.6},
    "SCAD": {"a": 3.0, "knee": 0.4},
    "CEL0": {"a": 1.4},
    "Firm": {"zeta": 0.6},
}


def instances():
    """One of every registered penalty."""
    return [
        cls(**SHAPES.get(name, {})) for name, cls in penalties.REGISTRY.items()
    ]


def curves(penalty, t):
    """r and its proxes along t, as numpy arrays."""
    if isinstance(penalty, penalties.VectorPenalty):
        vectors = np.stack([t, np.full_like(t, 0.5)])
        value = penalty.value(ops.convert_to_tensor(vectors), (0,))[0]
        proxes = [
            penalty.prox(ops.convert_to_tensor(vectors), step, (0,))[0]
            for step in STEPS
        ]
    else:
        value = penalty.value(ops.convert_to_tensor(t))
        proxes = [penalty.prox(ops.convert_to_tensor(t), s) for s in STEPS]
    return ops.convert_to_numpy(value), [
        ops.convert_to_numpy(x) for x in proxes
    ]


def title(penalty):
    given = ", ".join(
        f"{key}={value:g}"
        for key, value in dataclasses.asdict(penalty).items()
        if value is not None
    )
    return f"{type(penalty).__name__}({given})"


def draw_pair(left, right, penalty):
    t = np.linspace(0.0, 2.0, 1601)
    value, proxes = curves(penalty, t)
    left.plot(t, value, color="black", linewidth=1.5)
    left.set_title(title(penalty), fontsize=9, loc="left")
    left.set_ylim(-0.05, 2.0)
    right.plot(t, t, color="0.75", linewidth=0.8)
    for step, color, x in zip(STEPS, COLORS, proxes, strict=True):
        # A gap where the prox jumps, no vertical line.
        jumps = np.flatnonzero(np.diff(x) > 0.03)
        right.plot(
            np.insert(t, jumps + 1, np.nan),
            np.insert(x, jumps + 1, np.nan),
            color=color,
            linewidth=1.5,
            label=f"step {step:g}",
        )
    right.set_ylim(-0.05, 2.0)
    for axis in (left, right):
        axis.set_xlim(0, 2)
        axis.tick_params(labelsize=7)
        axis.set_xticks([0, 1, 2], [])
        axis.set_yticks([0, 1, 2])


GROUP_REGULARIZERS = [
    ("GroupLasso(0.5)", knc.GroupLasso(0.5, group_weights=None)),
    (
        "GroupSCAD(0.5, knee=0.5)",
        knc.GroupSCAD(0.5, knee=0.5, group_weights=None),
    ),
    (
        "SparseGroupTL1(0.2, a=0.5,\ngroup_strength=0.3)",
        knc.SparseGroupTL1(0.2, a=0.5, group_strength=0.3, group_weights=None),
    ),
    ("GroupSparseEnvelope(1, 0.5)", knc.GroupSparseEnvelope(1, 0.5)),
    ("GroupLp(0.4)", knc.GroupLp(0.4, group_weights=None)),
    (
        "GroupSparseEnvelope(1, 0.5,\ndebiased=True)",
        knc.GroupSparseEnvelope(1, 0.5, debiased=True),
    ),
]


def draw_flow(axis, name, reg):
    """Where one proximal step takes the weights of two one-weight groups."""
    grid = np.linspace(0.1, 1.9, 10)
    for first in grid:
        for second in grid:
            w = np.array([[first, second]])
            x = ops.convert_to_numpy(reg.proximal(w, 1.0))[0]
            axis.annotate(
                "",
                x,
                w[0],
                arrowprops={
                    "arrowstyle": "-|>",
                    "color": COLORS[2] if 0 in x else COLORS[0],
                    "linewidth": 0.7,
                    "mutation_scale": 5,
                    "shrinkA": 0,
                    "shrinkB": 0,
                },
            )
    axis.set_title(name, fontsize=8, loc="left")
    axis.set_xlim(-0.05, 2)
    axis.set_ylim(-0.05, 2)
    axis.set_aspect("equal")
    axis.set_xticks([0, 1, 2], [])
    axis.set_yticks([0, 1, 2], [])


def figure():
    """The whole figure."""
    chosen = instances()
    rows = -(-len(chosen) // PAIRS_PER_ROW)
    fig = plt.figure(figsize=(12, 1.75 * rows + 2.6), layout="constrained")
    pairs, flows = fig.subfigures(2, 1, height_ratios=[1.75 * rows, 2.6])
    axes = pairs.subplots(rows, 2 * PAIRS_PER_ROW, squeeze=False)
    for axis in axes.ravel():
        axis.set_visible(False)
    for index, penalty in enumerate(chosen):
        row, column = divmod(index, PAIRS_PER_ROW)
        left, right = axes[row, 2 * column : 2 * column + 2]
        left.set_visible(True)
        right.set_visible(True)
        draw_pair(left, right, penalty)
    axes[0, 1].legend(fontsize=7, frameon=False, loc="upper left")
    pairs.suptitle("Penalty r(t), and its prox at three steps", fontsize=11)
    flows.suptitle(
        "One proximal step on two groups; red where a group is zeroed",
        fontsize=11,
    )
    columns = flows.subplots(1, len(GROUP_REGULARIZERS))
    for axis, (name, reg) in zip(columns, GROUP_REGULARIZERS, strict=True):
        draw_flow(axis, name, reg)
    return fig


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", default="docs/penalties.png")
    options = parser.parse_args()
    fig = figure()
    with files.replacing(options.out) as path:
        fig.savefig(path, dpi=110, format="png")
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
