"""Real architectures lose what is asked of them, exactly."""

import importlib
import os

import keras
import numpy as np
import pytest
from helpers import images
from helpers import run
from helpers import without_the_package
from keras import layers

import keras_nonconvex as knc
from keras_nonconvex import pruning

# The smallest member of every family of keras.applications: those that the
# others resemble in every run, all of them with `make fuzz`.
FAMILIES = [
    "ConvNeXtTiny",
    "DenseNet121",
    "EfficientNetB0",
    "InceptionV3",
    "MobileNetV2",
    "MobileNetV3Small",
    "ResNet50",
]
PREACTIVATION = ["densenet40"]
if "FUZZ_GRAPHS" in os.environ:
    PREACTIVATION += ["resnet164"]
    FAMILIES += [
        "EfficientNetV2B0",
        "InceptionResNetV2",
        "MobileNet",
        "NASNetMobile",
        "ResNet50V2",
        "VGG16",
        "Xception",
    ]


def randomize(model, seed=0):
    """Random statistics and scales: what fresh models have hides mistakes."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        if weight.name in ("moving_variance", "variance", "gamma", "variable"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name in ("beta", "moving_mean", "bias", "mean"):
            weight.assign(0.1 * rng.normal(size=weight.shape))
    return model


def difference(first, second, x):
    a, b = (
        keras.ops.convert_to_numpy(model(x, training=False))
        for model in (first, second)
    )
    return np.abs(a - b).max() / np.abs(a).max()


def check(model, **options):
    plan = pruning.plan(model, **options)
    assert plan.met
    small, masked = plan.apply(model), plan.mask(model)
    assert small.count_params() == plan.after["params"]
    assert knc.summary(small).macs == plan.after["macs"]
    shape = (2, *model.input_shape[1:])
    x = np.random.default_rng(0).normal(size=shape).astype("float32")
    assert difference(masked, small, x) < 1e-4
    assert difference(model, small, x) > 1e-3  # Something real has gone.
    return plan


@pytest.mark.parametrize("name", FAMILIES)
def test_families_of_keras_applications(name):
    # What it takes: sizes at which every family still has its full depth.
    size = 139 if name.startswith("Inception") else 96
    model = getattr(keras.applications, name)(
        weights=None,
        classifier_activation=None,
        input_shape=(size, size, 3),
    )
    check(randomize(model), budget={"params": 0.6})
    keras.backend.clear_session()


@pytest.mark.parametrize("name", PREACTIVATION)
def test_preactivation_networks_select_channels(name):
    model = randomize(knc.models.get(name)())
    plan = check(
        model,
        criterion="bn_scale",
        budget={"channels": 0.6},
        round_to=1,
        select=True,
    )
    small = plan.apply(model)
    gathers = [op for op in small.operations if type(op).__name__ == "Take"]
    selecting = [
        p
        for p in plan.layers
        if p.kind == "BatchNormalization" and p.keep and not all(p.keep)
    ]
    # A gather stands only where fewer channels enter than there are.
    assert len(gathers) == len(selecting) > 10
    gammas = np.concatenate(
        [la.gamma.numpy() for la in model.layers if hasattr(la, "gamma")]
    )
    gone = int(len(gammas) * 0.4) + 1
    kept = sum(
        layer.gamma.shape[0]
        for layer in small.layers
        if hasattr(layer, "gamma")
    )
    assert kept == len(gammas) - gone


@pytest.mark.parametrize("alone_first", [False, True])
def test_shared_normalization_may_select_in_one_call_alone(alone_first):
    x = inputs = keras.Input((6, 6, 3))
    norm = layers.BatchNormalization()
    # The second convolution reads the first, too.
    found = [x := layers.Conv2D(8, 3, padding="same")(x) for _ in range(2)]
    branches = [norm(x) for x in (found[::-1] if alone_first else found)]
    branches = [layers.Conv2D(4, 1)(layers.ReLU()(y)) for y in branches]
    model = randomize(keras.Model(inputs, layers.Concatenate()(branches)))
    plan = knc.pruning.plan(
        model, "bn_scale", {"channels": 0.5}, 1, select=True
    )
    assert plan.after["channels"] < plan.before["channels"]
    x = images(model, 2)
    small, masked = run(plan.apply(model), x), run(plan.mask(model), x)
    np.testing.assert_allclose(small, masked, rtol=1e-5, atol=1e-6)


def test_result_needs_no_package_of_ours(tmp_path):
    model = randomize(knc.models.resnet_v2(11))
    small = knc.prune(model, "bn_scale", {"channels": 0.5}, 1, select=True)
    path = tmp_path / "small.keras"
    small.save(path)
    with without_the_package():
        with pytest.raises(ImportError):
            importlib.import_module("keras_nonconvex")
        loaded = keras.models.load_model(path)
    x = images(model, 1)
    np.testing.assert_array_equal(run(loaded, x), run(small, x))
