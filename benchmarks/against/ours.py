"""Rows of this package."""

import functools
import time

import keras
from augmentation import batches

import keras_nonconvex as knc
from against import nets
from against import weights
from against.bench import GRADIENT_SAMPLES
from against.bench import counts
from against.bench import images
from keras_nonconvex import terminal
from keras_nonconvex.pruning import criteria

ROUNDS = 3
TEACHER = {"teacher_weight": 0.9, "temperature": 3.0}


def row(bench, method, budget, seed):
    """Prunes, repairs and trains a network; the figures of one row.

    Args:
        bench: A `Bench`.
        method: "group_norm", "taylor" or "output_change", then what else is
            asked for: "steps", "projections", "teacher", "fast", joined by
            "_".
        budget: The multiply-adds or parameters that may stay, as a dict.
        seed: An int, for the choice of samples and the order of training.
    """
    keras.utils.set_random_seed(seed)
    x_train, y_train, _, _ = images(bench.limit)
    chosen = bench.chosen(seed)
    x, y = x_train[chosen], y_train[chosen]
    dense = bench.dense
    if "projections" in method:
        dense = nets.build(weights.with_projections(nets.weights_of(dense)))
    dense.compile(loss=_loss())
    start = time.perf_counter()
    if "steps" in method:
        cut, repaired = _in_steps(dense, method, budget, x, y, seed)
    else:
        plan = knc.pruning.plan(
            dense, _criterion(method, x, y, seed), budget, round_to=1
        )
        cut = plan.apply(dense)
        repaired, _ = knc.repair(cut, plan, dense, x, seed=seed, verbose=False)
    seconds = time.perf_counter() - start
    found = {
        **counts(cut),
        "pruned": bench.accuracy(cut),
        "seconds": seconds,
        "repaired": bench.accuracy(repaired),
        "recalibrated": bench.accuracy(knc.recalibrate(cut, x)),
    }
    bench.tell(f"repaired: {found['repaired']:.4f} in {seconds:.0f} s")
    if bench.epochs:
        knc.fine_tune(
            repaired,
            batches(x_train, y_train, seed),
            epochs=bench.epochs,
            optimizer=bench.optimizer(method),
            loss=_loss(),
            steps_per_epoch=bench.steps,
            shuffle=False,
            verbose=0,
            callbacks=[terminal.Epochs(bench.console, method)],
            **({"teacher": dense, **TEACHER} if "teacher" in method else {}),
        )
        found["fine_tuned"] = bench.accuracy(repaired)
    return {**found, **bench.litert(repaired)}


def _loss():
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _criterion(method, x, y, seed):
    if method.startswith("group_norm"):
        return criteria.GroupNorm()
    if method.startswith("taylor"):
        return criteria.Taylor((x, y), samples=GRADIENT_SAMPLES, seed=seed)
    return criteria.OutputChange(x, samples=GRADIENT_SAMPLES, seed=seed)


def _in_steps(dense, method, budget, x, y, seed):
    """What is cut at once by the plans of all steps, and what is repaired."""
    (key, limit), *_ = budget.items()
    repaired, plans = knc.pruning.iterative(
        dense,
        (x, y),
        steps=ROUNDS,
        budget={key: limit / counts(dense)[key]},
        criterion=_criterion(method, x, y, seed),
        round_to=1,
        epochs=0,
        repair=True,
        verbose=False,
    )
    whole = functools.reduce(knc.PruningPlan.then, plans)
    return whole.apply(dense), repaired
