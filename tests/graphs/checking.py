"""What has to hold for every plan of a random graph."""

import contextlib
import inspect
import io
import pathlib
import signal
import tempfile

import keras
import numpy as np
from helpers import images
from helpers import run

from graphs.draws import coin
from graphs.draws import pick
from graphs.draws import whole
from graphs.growing import SIZES
from graphs.growing import random_model
from keras_nonconvex import graph
from keras_nonconvex import pruning
from keras_nonconvex import unfolding
from keras_nonconvex.pruning.channels.trace import Trace

# Graphs are in float64: what is left of rounding is far below this, and what
# is above it is a mistake, however small. In float32, 1e-5 would both excuse
# some mistakes and accuse deep graphs of none.
TOLERANCE = 1e-9


@contextlib.contextmanager
def float64():
    """A scope in which Keras works in float64."""
    policy, floatx = keras.config.dtype_policy(), keras.config.floatx()
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.config.set_floatx(floatx)
        keras.config.set_dtype_policy(policy)


@contextlib.contextmanager
def within(seconds):
    """A scope that raises if it takes longer: no seed may hang a run.

    The seconds are those of processors, so that other work takes none.
    """

    def stop(*_):
        raise TimeoutError(f"not done within {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def random_options(rng):
    """Arguments of `pruning.plan`."""
    key = pick(rng, ["params", "params", "channels"])
    return {
        "budget": {key: float(rng.uniform(0.1, 0.9))},
        "round_to": pick(rng, [1, 1, 2, 3, 4]),
        "min_channels": whole(rng, 0, 2),
        "max_ratio": pick(rng, [1.0, 1.0, 0.7]),
        "ranking": pick(rng, ["global", "layer"]),
        "select": coin(rng, 0.3),
        "on_constant": pick(rng, ["carry", "carry", "carry", "keep"]),
    }


def difference(first, second):
    """The greatest one, in units of the greatest value of each output."""
    return max(
        float(np.abs(a - b).max() / max(np.abs(a).max(), 1e-3))
        for a, b in zip(first, second, strict=True)
    )


def dropping(plan):
    return any(not all(layer.keep) for layer in plan.layers)


def assert_same(what, first, second, tolerance=TOLERANCE):
    found = difference(first, second)
    assert found <= tolerance, f"{what}: they differ by {found:.2g}"


def operations(model):
    """All layers and operations, those of nested models too."""
    for operation in graph.functional(model).operations:
        yield operation
        if graph.is_graph(operation):
            yield from operations(operation)


def check(seed):
    """One graph, three plans.

    Returns:
        {"lost": whether the plan with a budget drops channels,
        "edited": whether its edited form could be carried out,
        "zeros": whether there were superfluous channels,
        "carried": whether some stay for the constants of others,
        "sizes": whether it was run at several sizes}.
    """
    rng = np.random.default_rng(seed)
    with float64(), within(60):
        model = random_model(rng)
        return Check(model, rng).run()


# The sentences with which an edited plan may be refused.
REFUSALS = ("cannot be removed", "keeps no channel")


def _untold(model, inputs):
    """All outputs where layers are in the mode that the graph gives them."""
    with keras.StatelessScope():
        flat = [y for x in inputs for y in keras.tree.flatten(model(x))]
    return [keras.ops.convert_to_numpy(y) for y in flat]


def _trains_by_default(operation):
    """As augmentation does, and Resizing, which is built on it."""
    training = inspect.signature(operation.call).parameters.get("training")
    return training is not None and training.default is True


class Check:
    """What has to hold for every plan of one model."""

    def __init__(self, model, rng):
        self.model = model
        self.rng = rng
        self.before = [w.numpy().copy() for w in model.variables]
        self.x = list(self._inputs())
        # `run` tells all layers to infer, which some are told not to do.
        self.untold = False
        calls = graph.calls(model)
        unfolded = unfolding.functional(model)
        self.known = {op.name for op in operations(unfolded)}
        # Keras 3.15 hands on what augmentation is told by default, too.
        augments = any(_trains_by_default(call.operation) for call in calls)
        if graph.in_training(calls) and not augments:
            first, second = (_untold(m, self.x) for m in (model, unfolded))
            # Not so with noise.
            self.untold = difference(first, second) < TOLERANCE
        self.outputs = self.outputs_of(model)
        for y in self.outputs:
            assert np.isfinite(y).all(), "the graph itself is not finite"

    def _inputs(self):
        """Of each size that the model takes, one where it is fixed."""
        free = None in self.model.inputs[0].shape[1:]
        for sizes in SIZES if free else SIZES[:1]:
            x = images(self.model, 3, self.rng, "float64", sizes)
            try:
                run(self.model, x)
            except Exception:
                if sizes is SIZES[0]:
                    raise
                continue
            yield x

    def outputs_of(self, model):
        """All outputs for all inputs, one after the other."""
        found = [y for x in self.x for y in run(model, x)]
        return found + (_untold(model, self.x) if self.untold else [])

    def run(self):
        zeros = pruning.plan(self.model)
        if dropping(zeros):
            _, outputs = self.removed("no budget", zeros)
            assert_same("no budget, original", self.outputs, outputs)
        scores = self.rng.random(10**4)
        options = random_options(self.rng)
        plan = pruning.plan(
            self.model, lambda trace: scores[: len(trace)], **options
        )
        found = {
            "lost": dropping(plan),
            "zeros": dropping(zeros),
            "carried": "carries the constants"
            in str([layer.reason for layer in zeros.layers]),
            "sizes": len(self.x) > 1,
        }
        small, outputs = self.removed(f"{options}", plan)
        self.saved(small, outputs)
        found["edited"] = self.edited(plan)
        if coin(self.rng, 0.1):
            self.told(scores)
            self.trained(small)
        if coin(self.rng, 0.1):
            self.not_carried(zeros)
        for w, old in zip(self.model.variables, self.before, strict=True):
            np.testing.assert_array_equal(w.numpy(), old)
        assert_same("original", self.outputs, self.outputs_of(self.model), 0)
        return found

    def removed(self, what, plan, edited=False):
        """The small model, which computes what the masked one does."""
        small, masked = plan.apply(self.model), plan.mask(self.model)
        outputs = self.outputs_of(small)
        assert_same(f"{what}: masked, small", self.outputs_of(masked), outputs)
        if not edited:
            count = small.count_params()
            assert count == plan.after["params"], (
                f"{what}: {count} parameters, plan {plan.after['params']}"
            )
        more = [
            op.name
            for op in operations(small)
            if op.name not in self.known
            and type(op).__name__ not in ("Take", "Add")
            # What stands in the place of a layer begins with its name.
            and not any(op.name.startswith(f"{name}_") for name in self.known)
        ]
        assert not more, f"{what}: new layers {more}"
        return small, outputs

    def saved(self, small, outputs):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "small.keras"
            small.save(path)
            loaded = keras.models.load_model(path)
        assert_same("saved, loaded", outputs, self.outputs_of(loaded), 0)

    def trained(self, small):
        """The small model takes a step of training."""
        x = self.x[0]
        y = [np.zeros_like(y) for y in run(small, x)]
        small.compile("sgd", "mse", run_eagerly=True)
        small.train_on_batch(x, y if len(y) > 1 else y[0])

    def not_carried(self, zeros):
        """Carriers lose more than "keep"; "fold" is exact or tells an error."""
        keeping = pruning.plan(self.model, on_constant="keep")
        assert zeros.after["params"] <= keeping.after["params"]
        folded = pruning.plan(self.model, on_constant="fold")
        if not folded.border_error:
            self.removed("folded", folded)

    def told(self, scores):
        """Each layer has a row, and says why it keeps all that it has."""
        plan = pruning.plan(
            self.model, lambda trace: scores[: len(trace)], {"params": 1e-9}, 1
        )
        assert plan.limit
        count = sum(layer.params[0] for layer in plan.layers)
        assert count == self.model.count_params()
        for layer in plan.layers:
            lost = layer.params[1] < layer.params[0]
            assert lost or layer.reason, f"'{layer.name}' keeps all, unsaid"

    def edited(self, plan):
        """A random keep mask of the user's own is exact, or refused."""
        trace = Trace(self.model, plan.select)
        keep = self.rng.random(len(trace)) < self.rng.uniform(0.3, 1.0)
        keep |= ~trace.free
        for layer in plan.layers:
            if layer.keep:
                ids = np.concatenate(trace.made[layer.name])
                layer.keep = keep[trace.root_of[ids]].tolist()
        try:
            self.removed("edited", plan, edited=True)
        except ValueError as error:
            if not any(text in str(error) for text in REFUSALS):
                raise
            return False
        return True


def summary(model):
    """The layers, one a line."""
    text = io.StringIO()
    model.summary(
        print_fn=lambda line: print(line, file=text), expand_nested=True
    )
    return text.getvalue()


def describe(seed):
    """The graph of a seed, for a message."""
    with float64():
        return summary(random_model(np.random.default_rng(seed)))
