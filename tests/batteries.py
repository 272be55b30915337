"""What has to hold for any layer rule and any criterion.

The tests of the built-in ones and of the pages under docs/ run these.
"""

import contextlib
import io
import pathlib
import re
import tempfile

import keras
import numpy as np
import pytest
from helpers import images
from helpers import run

from keras_nonconvex import pruning
from keras_nonconvex.pruning.channels.trace import Trace
from keras_nonconvex_main import cli


def assert_same(first, second, model, tolerance=1e-5):
    """Two models give the same, relative to the greatest output."""
    x = images(model)
    for a, b in zip(run(first, x), run(second, x), strict=True):
        scale = np.abs(a).max() + 1e-6
        np.testing.assert_allclose(a / scale, b / scale, atol=tolerance)


def values_of(model):
    return [keras.ops.convert_to_numpy(w) for w in model.weights]


def assert_untouched(model, before):
    for now, old in zip(values_of(model), before, strict=True):
        np.testing.assert_array_equal(now, old)


class Removal:
    """For models with random weights, all layers of which can be followed.

    Each test gets a function of a seed that makes the model.
    """

    def edited(self, model, seed):
        """A plan that keeps random channels, some of each layer."""
        plan, trace = pruning.plan(model), Trace(model)
        rng = np.random.default_rng(seed)
        keep = rng.random(len(trace)) < 0.6
        for roots in trace.blocks().values():
            keep[rng.choice(roots)] = True
        keep |= ~trace.free
        for layer in plan.layers:
            if layer.keep:
                ids = np.concatenate(trace.made[layer.name])
                layer.keep = keep[trace.root_of[ids]].tolist()
        return plan

    def test_random_choices_are_exact(self, make):
        for seed in range(5):
            model = make(seed)
            before = values_of(model)
            plan = self.edited(model, seed)
            small = plan.apply(model)
            assert small.count_params() < model.count_params()
            assert_same(plan.mask(model), small, model)
            assert_untouched(model, before)

    def test_filters_of_zeros_go_for_free(self, make):
        model = make(0)
        trace = Trace(model)
        for roots in trace.blocks().values():
            for use in trace.of_role("filter", "bias", "shift"):
                gone = np.isin(trace.root_of[use.ids], roots[0])
                array = np.array(use.values)
                use.clear(array, gone)
                use.variable.assign(array)
        plan = pruning.plan(model)
        assert plan.after["params"] < plan.before["params"]
        small = plan.apply(model)
        assert small.count_params() == plan.after["params"]
        assert_same(model, small, model)

    def test_small_models_are_saved_and_loaded(self, make):
        model = make(0)
        small = self.edited(model, 0).apply(model)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "small.keras"
            small.save(path)
            loaded = keras.models.load_model(path)
        assert_same(small, loaded, model, 0)

    def test_small_models_train(self, make):
        model = make(0)
        model.compile("sgd", "mse")
        small = self.edited(model, 0).apply(model)
        x = images(model, n=8)
        targets = [np.zeros_like(y) for y in run(small, x)]
        before = values_of(small)
        loss = small.fit(
            x, targets if len(targets) > 1 else targets[0], verbose=0
        )
        assert np.isfinite(loss.history["loss"]).all()
        moved = [
            (old != new).any()
            for old, new in zip(before, values_of(small), strict=True)
        ]
        assert any(moved)


class Criterion:
    """For a registered criterion, by its name.

    Each test gets the name, a model, and samples (x, y) of it.
    """

    def scores(self, name, trace, data, combine="mean"):
        return pruning.criteria.scores_of(trace, name, data, combine)

    def test_one_score_per_channel(self, name, model, data):
        trace = Trace(model)
        scores = self.scores(name, trace, data)
        assert scores.shape == (len(trace),)
        assert not np.isnan(scores).any()
        assert np.isfinite(scores[trace.free]).any()
        # A ranking needs different scores.
        assert len(np.unique(scores[trace.free])) > 1

    def test_asked_again_it_says_the_same(self, name, model, data):
        before = values_of(model)
        first, second = (
            self.scores(name, Trace(model), data) for _ in range(2)
        )
        np.testing.assert_array_equal(first, second)
        assert_untouched(model, before)

    def test_the_lowest_scores_go(self, name, model, data):
        trace = Trace(model)
        for ranking, combine in (
            ("global", "mean"),
            ("layer", "sum"),
            ("global", "max"),
        ):
            scores = self.scores(name, trace, data, combine)
            options = {"data": data, "ranking": ranking, "combine": combine}
            options["per"] = None
            plan = pruning.plan(model, name, {"params": 0.6}, 1, **options)
            assert plan.met and plan.criterion == name
            keeps = {layer.name: layer.keep for layer in plan.layers}
            for (first, *_), roots in trace.blocks().items():
                keep = np.ones(len(trace), bool)
                ids = np.concatenate(trace.made[first])
                keep[trace.root_of[ids]] = keeps[first]
                stays = scores[roots[keep[roots]]]
                goes = scores[roots[~keep[roots]]]
                assert goes.max(initial=-np.inf) <= stays.min()

    def test_excluded_layers_stay(self, name, model, data):
        first = next(la for la in pruning.plan(model).layers if la.keep)
        options = {"round_to": 1, "data": data, "exclude": first.name}
        plan = pruning.plan(model, name, {"params": 0.7}, **options)
        kept = {layer.name: all(layer.keep) for layer in plan.layers}
        assert kept[first.name] and not all(kept.values())

    def test_the_command_line_offers_what_needs_no_samples(
        self, name, model, data
    ):
        text = io.StringIO()
        with contextlib.redirect_stderr(text), pytest.raises(SystemExit):
            cli.main(["prune", "a.keras", "b.keras", "--criterion", "?"])
        offered = re.search(rf"\b{name}\b", text.getvalue()) is not None
        assert offered != pruning.criteria.needs_data(name)


def tests_of(battery):
    """The names of a battery's tests."""
    return [name for name in dir(battery) if name.startswith("test_")]
