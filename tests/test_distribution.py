"""Several replicas: they stay identical, and agree with one worker.

What has several devices runs in processes of its own, since their number is
fixed when a backend starts. This file is also what they run:

    python test_distribution.py CASE FOLDER
"""

import functools
import json
import os
import pathlib
import socket
import subprocess
import sys

import pytest

BATCH, STEPS = 32, 20


def train(solver="proximal", distribute=None):
    """Trains a small net; returns its weights and the logged losses."""
    import contextlib

    import keras
    import numpy as np
    from keras import layers

    import keras_nonconvex as knc

    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, BATCH * STEPS)
    x = rng.normal(size=(len(y), 8, 8, 1)) * 0.3
    x[np.arange(len(y)), y * 2, y * 2] += 2.0
    with distribute() if distribute else contextlib.nullcontext():
        keras.utils.set_random_seed(0)
        inputs = keras.Input((8, 8, 1))
        # The first iterates in its prox, the other does not, and compiles fast.
        reg = knc.SparseGroupTL1(4e-3)
        hidden = layers.Conv2D(6, 3, kernel_regularizer=reg)(inputs)
        hidden = layers.Flatten()(layers.ReLU()(hidden))
        reg = knc.SparseGroupL1(2e-3)
        hidden = layers.Dense(12, "relu", kernel_regularizer=reg)(hidden)
        outputs = layers.Dense(3, "softmax", kernel_regularizer=reg)(hidden)
        model = knc.ProximalModel(inputs, outputs)
        model.compile(
            keras.optimizers.SGD(0.05, momentum=0.9),
            "sparse_categorical_crossentropy",
            solver=SOLVERS[solver](knc),
        )
        history = model.fit(
            x.astype("float32"),
            y,
            batch_size=BATCH,
            epochs=3,
            shuffle=False,
            verbose=0,
            callbacks=[knc.callbacks.StrengthSchedule("linear", end=1.0)],
        )
    return model, history.history["loss"]


SOLVERS = {
    "proximal": lambda knc: knc.solvers.ProximalGradient(),
    "splitting": lambda knc: knc.solvers.VariableSplitting(beta=0.1),
}


def arrays(model, losses):
    import keras

    weights = {
        f"w{i}": keras.ops.convert_to_numpy(w)
        for i, w in enumerate(model.weights)
    }
    return {**weights, "loss": losses}


@functools.cache
def single(solver="proximal"):
    return arrays(*train(solver))


def teach(distribute=None):
    """Fine-tunes with a teacher; the last batches are uneven."""
    import contextlib

    import keras
    import numpy as np
    from keras import layers

    import keras_nonconvex as knc

    def network():
        inputs = keras.Input((12,))
        hidden = layers.Dense(
            8, "relu", kernel_regularizer=keras.regularizers.L2(0.1)
        )(inputs)
        outputs = layers.Dense(3, activation="softmax")(hidden)
        return keras.Model(inputs, outputs)

    keras.utils.set_random_seed(0)
    with distribute() if distribute else contextlib.nullcontext():
        teacher, model = network(), network()
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(39, 12)), np.arange(39) % 3
    history = knc.fine_tune(
        model,
        x[:32],
        y[:32],
        epochs=2,
        teacher=teacher,
        batch_size=16,
        shuffle=False,
        validation_data=(x[32:], y[32:]),
        verbose=0,
    ).history
    return model, [*history["loss"], *history["val_loss"]]


def compress(strategy):
    """A whole run, with uneven batches in training and in validation.

    Returns:
        The loss of the dense network on validation images that was logged on
        the replicas, and what it is on one device.
    """
    import csv
    import tempfile

    import keras
    import numpy as np
    from keras import layers
    from rich.console import Console

    import keras_nonconvex as knc

    rng = np.random.default_rng(0)
    y = np.arange(60) % 3
    x = (rng.random((60, 8, 8, 1)) / 2).astype("float32")
    x[np.arange(60), 2 * y, 2 * y] += 0.4
    inputs = keras.Input((8, 8, 1))
    hidden = layers.Conv2D(8, 3, activation="relu")(inputs)
    hidden = layers.GlobalAveragePooling2D()(hidden)
    model = keras.Model(inputs, layers.Dense(3, activation="softmax")(hidden))
    parts = {"train": slice(0, 45), "validation": slice(45, 52)}
    parts["test"] = slice(52, 60)
    settings = {
        "train": True,
        "epochs": 1,
        "fine_tune_epochs": 1,
        "criterion": "group_norm",
        "budget": {"macs": 0.6},
        "round_to": 1,
        "repair": False,
        "precisions": ["float32"],
        "latency_runs": 1,
    }
    with tempfile.TemporaryDirectory() as folder:
        run = functools.partial(
            knc.compress,
            model,
            {name: (x[part], y[part]) for name, part in parts.items()},
            pathlib.Path(folder) / "run",
            console=Console(quiet=True),
            strategy=strategy,
            **settings,
        )
        with pytest.raises(ValueError, match="2 devices for batches of 1"):
            run(batch_size=1)
        assert not any(pathlib.Path(folder).iterdir())
        result = run(batch_size=9)
        rows = csv.DictReader((result.folder / "history.csv").open())
        logged = {row["stage"]: float(row["val_loss"]) for row in rows}
        dense = keras.saving.load_model(result.folder / "dense.keras")
    assert set(logged) == {"dense", "fine-tune.small"}
    likely = dense.predict(x[parts["validation"]], verbose=0)
    likely = likely[np.arange(7), y[parts["validation"]]]
    return logged["dense"], -np.mean(np.log(likely))


def mirrored():
    """Two logical CPU devices under MirroredStrategy."""
    import numpy as np
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    tf.config.set_logical_device_configuration(
        cpu, [tf.config.LogicalDeviceConfiguration()] * 2
    )
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    assert strategy.num_replicas_in_sync == 2
    for solver in SOLVERS:
        model, losses = train(solver, strategy.scope)
        for variable in [*model.weights, *model.solver_state.weights]:
            first, second = strategy.experimental_local_results(variable.value)
            np.testing.assert_array_equal(first, second)
        yield solver, arrays(model, losses)
    yield "taught", arrays(*teach(strategy.scope))
    logged, found = compress(strategy)
    yield "compressed", {"losses": [logged, found]}


def multi_worker():
    """One of two processes under MultiWorkerMirroredStrategy."""
    import tensorflow as tf

    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    assert strategy.num_replicas_in_sync == 2
    worker = json.loads(os.environ["TF_CONFIG"])["task"]["index"]
    yield f"worker{worker}", arrays(*train(distribute=strategy.scope))


def data_parallel():
    """One host device of JAX, then two of them under DataParallel."""
    import keras

    yield "one", single()
    devices = keras.distribution.list_devices()
    assert len(devices) == 2
    keras.distribution.set_distribution(
        keras.distribution.DataParallel(devices=devices)
    )
    yield "two", arrays(*train())


def start(case, folder, **environment):
    return subprocess.Popen(
        [sys.executable, __file__, case, str(folder)],
        env={**os.environ, **environment},
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]


def check_same(one, two):
    """The same zeros and, within rounding, the same weights and losses."""
    import numpy as np

    zeros = 0
    for name in one:
        np.testing.assert_allclose(one[name], two[name], atol=2e-5, rtol=1e-4)
        np.testing.assert_array_equal(one[name] == 0, two[name] == 0)
        zeros += np.sum(one[name] == 0)
    assert zeros > 100


def load(path):
    import numpy as np

    return dict(np.load(path))


@pytest.fixture(scope="module")
def replicas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mirrored")
    finish(start("mirrored", folder, KERAS_BACKEND="tensorflow"))
    return folder


@pytest.mark.parametrize("solver", SOLVERS)
def test_mirrored_replicas_agree_with_one_worker(replicas, solver):
    check_same(single(solver), load(replicas / f"{solver}.npz"))


def test_a_teacher_on_replicas_teaches_as_on_one_device(replicas):
    expected, taught = arrays(*teach()), load(replicas / "taught.npz")
    for name in expected:
        assert taught[name] == pytest.approx(expected[name], abs=1e-5)


def test_compress_on_replicas_takes_uneven_batches(replicas):
    logged, found = load(replicas / "compressed.npz")["losses"]
    assert logged == pytest.approx(found, abs=1e-5)


def test_two_workers_agree_with_one(tmp_path):
    ports = []
    for _ in range(2):
        with socket.socket() as probe:
            probe.bind(("localhost", 0))
            ports.append(probe.getsockname()[1])
    cluster = {"worker": [f"localhost:{port}" for port in ports]}
    workers = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        workers.append(
            start(
                "multi_worker",
                tmp_path,
                KERAS_BACKEND="tensorflow",
                TF_CONFIG=json.dumps({"cluster": cluster, "task": task}),
            )
        )
    for worker in workers:
        finish(worker)
    first, second = (load(tmp_path / f"worker{i}.npz") for i in range(2))
    check_same(first, second)
    check_same(single(), first)


def test_jax_data_parallel_agrees_with_one_device(tmp_path):
    pytest.importorskip("jax")
    environment = {
        "KERAS_BACKEND": "jax",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        # Compiling takes longer than computing.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    finish(start("data_parallel", tmp_path, **environment))
    check_same(load(tmp_path / "one.npz"), load(tmp_path / "two.npz"))


if __name__ == "__main__":
    import numpy

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
    for name, found in globals()[sys.argv[1]]():
        numpy.savez(pathlib.Path(sys.argv[2]) / name, **found)
