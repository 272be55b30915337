"""How fast the proxes are: passes over memory, and beside other packages.

    python benchmarks/prox.py [--values 4000000] [--rounds 15] [--out FILE]

Everything runs in this one process on the same float32 array, compiled as in
training, in interleaved rounds; the figures are minima. A "pass" is
`w * 0.999` in the same framework, compiled alike. Other packages run where
they are installed (pip install skglm pyproximal proxop).
"""

import argparse
import importlib
import json
import time

import numpy as np
from keras import ops
from rich.console import Console
from rich.table import Table

import keras_nonconvex as knc
from keras_nonconvex import files
from keras_nonconvex import penalties
from keras_nonconvex.backends import compiled

# Training sizes: a learning rate of 0.1 times a strength of 1e-4, weights of
# 0.05, filters of 500 weights.
STEP, SIGMA, FILTER = 1e-5, 0.05, 500


def scalar_proxes():
    """name -> a regularizer of the default penalty, and two more of Lp."""
    chosen = {
        name: cls()
        for name, cls in sorted(penalties.REGISTRY.items())
        if not issubclass(cls, penalties.VectorPenalty)
    }
    chosen["Lp(2/3)"] = penalties.Lp(2 / 3)
    chosen["Lp(0.3)"] = penalties.Lp(0.3)
    return {
        name: (knc.Elementwise(penalty, 1.0), STEP)
        for name, penalty in chosen.items()
    }


def group_proxes():
    """Joint proxes at training size; `worst_steps` has the others."""
    cases = {}
    for cls in (
        knc.SparseGroupTL1,
        knc.SparseGroupMCP,
        knc.SparseGroupSCAD,
        knc.SparseGroupLp,
        knc.SparseGroupL0,
        knc.SparseGroupL1,
        knc.SparseGroupL1L2,
        knc.ExclusiveSparsity,
    ):
        name = cls.__name__
        cases[name] = (cls(1.0, groups="filters", group_strength=10.0), STEP)
    cases["HierarchicalGroup"] = (knc.HierarchicalGroup(strength=1e-3), STEP)
    return cases


def worst_steps(kernel, rounds):
    """The most expensive step of each joint prox, from 1e-6 to 1."""
    found = {}
    for reg in (
        knc.SparseGroupTL1(1.0, a=1.0, group_strength=0.1),
        knc.SparseGroupTL1(1.0, a=0.1, group_strength=0.03),
        knc.SparseGroupMCP(1.0, knee=0.1, group_strength=0.1),
        knc.SparseGroupLp(1.0, group_strength=0.1),
        knc.SparseGroupL0(1.0, group_strength=0.3),
    ):
        cases = {"one pass": on_tensor(lambda w: w * 0.999, kernel)}
        for step in np.geomspace(1e-6, 1.0, 19):
            cases[step] = on_tensor(
                lambda w, step=step: reg.proximal(w, step),  # noqa: B023
                kernel,
            )
        seconds = interleaved(cases, rounds)
        one_pass = seconds.pop("one pass")
        step, most = max(seconds.items(), key=lambda item: item[1])
        penalty = reg.penalty.get_config()
        name = f"{type(reg).__name__}{tuple(penalty.values())}"
        found[name] = (most / one_pass, float(step))
    return found


def other_packages(w):
    """name -> a function of no arguments, for what is installed."""
    cases = {}
    if _installed("pyproximal"):
        import pyproximal

        l1, scad = pyproximal.L1(1.0), pyproximal.SCAD(1.0, 3.7)
        log = pyproximal.Log(1.0, 10.0)
        cases["pyproximal L1"] = lambda: l1.prox(w, STEP)
        cases["pyproximal SCAD"] = lambda: scad.prox(w, STEP)
        cases["pyproximal Log"] = lambda: log.prox(w, STEP)
    if _installed("skglm"):
        import skglm.penalties
        from skglm.utils import prox_funcs

        def vector(penalty):
            from skglm.utils.jit_compilation import compiled_clone

            penalty = compiled_clone(penalty)
            out = np.zeros_like(w)
            return lambda: prox_funcs._prox_vec(out, w, penalty, STEP)

        cases["skglm ST_vec"] = lambda: prox_funcs.ST_vec(w, np.float32(STEP))
        cases["skglm MCP"] = vector(skglm.penalties.MCPenalty(1.0, 3.0))
        cases["skglm SCAD"] = vector(skglm.penalties.SCAD(1.0, 3.7))
        cases["skglm L1/2"] = vector(skglm.penalties.L0_5(1.0))
        cases["skglm L2/3"] = vector(skglm.penalties.L2_3(1.0))
        cases["skglm log-sum"] = vector(skglm.penalties.LogSumPenalty(1.0, 0.1))
    if _installed("proxop"):
        import proxop

        for name, prox in (
            ("L1", proxop.AbsValue()),
            ("MCP", proxop.MCP(1.0, 3.0)),
            ("SCAD", proxop.SCAD(1.0, 3.7)),
            ("CEL0", proxop.CEL0(1.0, 1.0)),
            ("Root(1/2)", proxop.Root(0.5)),
        ):
            cases[f"proxop {name}"] = lambda prox=prox: prox.prox(w, STEP)
    return cases


def _installed(name):
    return importlib.util.find_spec(name) is not None


def on_tensor(function, w):
    """`function` of the tensor `w`, compiled as the solver compiles it."""
    function = compiled(function)

    def run():
        result = function(w)
        # JAX hands out results before they are there.
        getattr(result, "block_until_ready", lambda: None)()

    return run


def cases_on(w):
    """Our cases on one array: name -> a function of no arguments."""
    tensor = ops.convert_to_tensor(w)
    cases = {
        "one pass": on_tensor(lambda w: w * 0.999, tensor),
        "soft threshold": on_tensor(
            lambda w: ops.sign(w) * ops.maximum(ops.abs(w) - STEP, 0.0),
            tensor,
        ),
    }
    for name, (reg, step) in scalar_proxes().items():
        cases[name] = on_tensor(
            lambda w, reg=reg, step=step: reg.proximal(w, step), tensor
        )
    kernel = ops.reshape(tensor[: len(w) // FILTER * FILTER], (FILTER, -1))
    for name, (reg, step) in group_proxes().items():
        cases[name] = on_tensor(
            lambda w, reg=reg, step=step: reg.proximal(w, step), kernel
        )
    return cases


def interleaved(cases, rounds):
    """Seconds per call: the least of `rounds`, taken in turns."""
    best = dict.fromkeys(cases, float("inf"))
    for function in cases.values():
        function()  # compiles
    for _ in range(rounds):
        for name, function in cases.items():
            function()  # the one before may have emptied the caches
            start = time.perf_counter()
            function()
            best[name] = min(best[name], time.perf_counter() - start)
    return best


def weights(count):
    rng = np.random.default_rng(0)
    return (rng.normal(size=count) * SIGMA).astype("float32")


def envelope_case(groups, rounds):
    """The envelope on single weights: as many groups, no sort."""
    w = ops.convert_to_tensor(weights(groups))
    reg = knc.GroupSparseEnvelope("25%", 1e-2, groups="weights")
    return interleaved(
        {
            "one pass": on_tensor(lambda w: w * 0.999, w),
            "envelope": on_tensor(lambda w: reg.proximal(w, 0.1), w),
        },
        rounds,
    )


def slopes(rounds):
    """d log(time) / d log(values), from 1e4 to 1e7 values."""
    counts = [10**4, 10**5, 10**6, 10**7]
    chosen = ("TransformedL1", "MCP", "Lp", "SparseGroupTL1")
    times = {name: [] for name in chosen}
    for count in counts:
        cases = cases_on(weights(count))
        found = interleaved({name: cases[name] for name in chosen}, rounds)
        for name in chosen:
            times[name].append(found[name])
    return {
        name: (
            float(np.polyfit(np.log(counts), np.log(values), 1)[0]),
            [1e9 * t / n for t, n in zip(values, counts, strict=True)],
        )
        for name, values in times.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--values", type=int, default=4_000_000)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--groups", type=int, default=1_000_000)
    parser.add_argument("--out", help="write the figures to this JSON file")
    options = parser.parse_args()
    console = Console()

    w = weights(options.values)
    ours = cases_on(w)
    seconds = interleaved({**ours, **other_packages(w)}, options.rounds)
    one_pass = seconds["one pass"]
    table = Table(title=f"{options.values:,} float32 values")
    for column in ("prox", "ns per value", "passes"):
        table.add_column(
            column, justify="left" if column == "prox" else "right"
        )
    for name, time_ in seconds.items():
        table.add_row(
            name,
            f"{1e9 * time_ / options.values:.2f}",
            f"{time_ / one_pass:.1f}",
        )
    console.print(table)

    kernel = ops.reshape(
        ops.convert_to_tensor(w[: len(w) // FILTER * FILTER]), (FILTER, -1)
    )
    worst = worst_steps(kernel, max(options.rounds // 5, 1))
    for name, (passes, step) in worst.items():
        console.print(
            f"{name}: at most {passes:.1f} passes for steps from 1e-6 to 1 "
            f"(at {step:.1e})"
        )
    found = envelope_case(options.groups, options.rounds)
    envelope = found["envelope"] / found["one pass"]
    console.print(f"Envelope, {options.groups:,} groups: {envelope:.1f} passes")
    linear = slopes(options.rounds)
    for name, (slope, ns) in linear.items():
        per_value = ", ".join(f"{n:.2f}" for n in ns)
        console.print(
            f"{name}: time grows as n^{slope:.2f} from 1e4 to 1e7 "
            f"({per_value} ns per value)"
        )
    if options.out:
        text = json.dumps(
            {
                "values": options.values,
                "ns_per_value": {
                    name: 1e9 * time_ / options.values
                    for name, time_ in seconds.items()
                },
                "passes": {
                    name: time_ / one_pass for name, time_ in seconds.items()
                },
                "most_passes": worst,
                "envelope_passes": envelope,
                "slopes": {name: slope for name, (slope, _) in linear.items()},
            },
            indent=1,
        )
        files.write_text(options.out, text)


if __name__ == "__main__":
    main()
