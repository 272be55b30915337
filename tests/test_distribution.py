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
