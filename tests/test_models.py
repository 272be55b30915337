"""The networks: the counts of the papers, exactly, and their structure."""

import functools
import inspect
import math
import re

import keras
import numpy as np
import pytest
from helpers import images
from helpers import run
from keras import layers

import keras_nonconvex as knc
from keras_nonconvex import graph
from keras_nonconvex import models as networks
from keras_nonconvex.flops import call_flops
from keras_nonconvex.flops import slimming_flops

# Trainable parameters with 10 and with 100 classes.
PARAMS = {
    "lenet5": (431_080, 476_170),
    "cnn4": (1_087_010, 1_177_100),
    "alexnet": (63_674, 75_284),
    "vgg_a": (611_434, 623_044),
    "vgg11": (9_228_362, 9_274_532),
    "vgg16": (14_724_042, 14_770_212),
    "vgg19": (20_035_018, 20_081_188),
    "resnet18": (11_173_962, 11_220_132),
    "resnet18_thin": (177_362, 183_212),
    "resnet20": (269_722, 275_572),
    "resnet56": (853_018, 858_868),
    "resnet110": (1_727_962, 1_733_812),
    "resnet164": (1_703_258, 1_726_388),
    "densenet40": (1_059_298, 1_100_428),
    "wrn28_10": (36_479_194, 36_536_884),
    "wrn40_1": (563_930, 569_780),
    "mobilenet_v1": (3_217_226, 3_309_476),
}
# Multiplications for an image of 32 x 32.
MACS = {"alexnet": 1_303_808, "vgg_a": 9_913_600, "resnet18_thin": 842_368}
BN_CHANNELS = {"vgg19": 5504, "resnet164": 12_112, "densenet40": 9360}
# By the counter of the slimming papers: all of it, and 2 x MACs. It does not
# see these poolings, which their code writes as functions.
FLOPS = {
    "vgg19": (797_304_842, 796_272_640, ["pool"]),
    "resnet164": (504_759_306, 495_293_440, []),
    "densenet40": (
        573_052_330,
        565_834_656,
        ["transition1_pool", "transition2_pool"],
    ),
}
NEURONS = {"lenet5": 1370, "cnn4": 2120, "wrn28_10": 10_736, "wrn40_1": 1520}


@functools.cache
def built(name):
    return networks.get(name)()


def size(weights):
    return sum(math.prod(w.shape) for w in weights)


def layers_of(model, kind):
    return [layer for layer in model.layers if isinstance(layer, kind)]


def bn_channels(model):
    return size(bn.gamma for bn in layers_of(model, layers.BatchNormalization))


def test_every_network_is_counted():
    assert list(networks.NETWORKS) == list(PARAMS)


@pytest.mark.parametrize("name", PARAMS)
def test_params(name):
    model = built(name)
    assert size(model.trainable_weights) == PARAMS[name][0]
    # What comes on top are moving means and variances.
    assert model.count_params() == PARAMS[name][0] + 2 * bn_channels(model)
    assert model.name == name
    assert model.output_shape == (None, 10)
    assert model.layers[-1].activation is keras.activations.softmax


@pytest.mark.parametrize("name", PARAMS)
def test_help_tells_which_parameters_are_counted(name):
    make = networks.NETWORKS[name]
    page = inspect.getdoc(getattr(make, "func", make))
    told = re.findall(r"\d+(?:,\d{3})+", page)
    assert f"{PARAMS[name][0]:,}" in told
    assert set(told) <= {f"{params:,}" for params, _ in PARAMS.values()}
    assert "trainable parameters" in " ".join(page.split())


@pytest.mark.parametrize("name", sorted(set(PARAMS) - {"wrn28_10"}))
def test_params_of_100_classes(name):
    model = networks.get(name)(classes=100, name="other")
    assert size(model.trainable_weights) == PARAMS[name][1]
    assert model.name == "other"


@pytest.mark.parametrize("name", ["alexnet", "vgg_a"])
@pytest.mark.parametrize("side", [28, 96])
def test_hidden_units_do_not_depend_on_the_size_of_images(name, side):
    model = networks.get(name)((side, side, 3))
    assert size(model.trainable_weights) == PARAMS[name][0]


@pytest.mark.parametrize("name", MACS)
def test_macs_of_small_networks(name):
    assert knc.summary(built(name)).macs == MACS[name]


@pytest.mark.parametrize("name", BN_CHANNELS)
def test_bn_channels(name):
    model = built(name)
    assert bn_channels(model) == BN_CHANNELS[name]
    for bn in layers_of(model, layers.BatchNormalization):
        assert np.all(keras.ops.convert_to_numpy(bn.gamma) == 0.5)


@pytest.mark.parametrize("name", FLOPS)
def test_flops(name):
    model = built(name)
    total, twice_macs, unseen = FLOPS[name]
    counted = {c.operation.name: call_flops(c) for c in graph.calls(model)}
    assert all(counted[name] > 0 for name in unseen)
    assert sum(counted.values()) == slimming_flops(model)
    assert slimming_flops(model) - sum(map(counted.get, unseen)) == total
    assert 2 * knc.summary(model).macs == twice_macs


def test_a_narrow_vgg_has_the_same_layers_with_fewer_filters():
    narrow, wide = networks.vgg11(width=0.25), built("vgg11")
    assert [v.name for v in narrow.layers] == [v.name for v in wide.layers]
    for ours, full in zip(narrow.layers, wide.layers, strict=True):
        if isinstance(ours, layers.Conv2D):
            assert 4 * ours.filters == full.filters
    # 9 (3 16 + 16 32 + 32 64 + 64 64 + 64 128 + 3 128 128), two for each of
    # 688 scales, and a dense layer of 10 units.
    assert size(narrow.trainable_weights) == 576_432 + 1376 + 1290
    with pytest.raises(ValueError, match="above 0. Received: width=0$"):
        networks.vgg11(width=0)


@pytest.mark.parametrize("name", NEURONS)
def test_neurons(name):
    model = built(name)
    filters = sum(conv.filters for conv in layers_of(model, layers.Conv2D))
    units = sum(d.kernel.shape[0] for d in layers_of(model, layers.Dense))
    assert filters + units == NEURONS[name]


@pytest.mark.parametrize(
    ("name", "filters", "weights"),
    [("wrn28_10", 4480, 16_842_240), ("wrn40_1", 672, 267_264)],
)
def test_first_convolutions_of_wide_blocks(name, filters, weights):
    # What Bui et al. regularize; one name pattern, "stage*_conv1".
    first = [
        conv
        for conv in layers_of(built(name), layers.Conv2D)
        if conv.name.startswith("stage") and conv.name.endswith("_conv1")
    ]
    assert sum(conv.filters for conv in first) == filters
    assert size(conv.kernel for conv in first) == weights


def test_wide_block():
    get = built("wrn40_1").get_layer
    assert get("stage2_block1_conv1").strides == (1, 1)
    assert get("stage2_block1_conv2").strides == (2, 2)
    shortcut = get("stage2_block1_shortcut_conv")
    assert shortcut.input is get("stage2_block1_relu1").output
    identity, _ = get("stage1_block1_add").input
    assert identity is get("conv1").output


def test_bottleneck():
    get = built("resnet164").get_layer
    assert get("stage2_block1_conv2").strides == (2, 2)
    shortcut = get("stage2_block1_shortcut_conv")
    assert shortcut.input is get("stage1_block18_add").output


def test_resnet_shortcuts():
    model = networks.resnet(8, input_shape=(9, 10, 3))
    before = model.get_layer("stage1_block1_relu2").output
    shortcut, _ = model.get_layer("stage2_block1_add").input
    model = keras.Model(model.inputs[0], [before, shortcut])
    wide, narrow = model(np.random.default_rng(0).normal(size=(2, 9, 10, 3)))
    wide, narrow = np.array(wide), np.array(narrow)
    assert np.array_equal(narrow[..., :16], wide[:, ::2, ::2])
    assert np.all(narrow[..., 16:] == 0) and narrow.shape[-1] == 32

    with_conv = networks.resnet(20, shortcut="conv")
    more = 16 * 32 + 32 * 64 + 2 * (32 + 64)
    assert size(with_conv.trainable_weights) == PARAMS["resnet20"][0] + more


@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_mobilenet_for_large_images_against_keras(alpha):
    model = networks.mobilenet_v1((224, 224, 3), 1000, alpha)
    oracle = keras.applications.MobileNet(alpha=alpha, weights=None)
    assert size(model.trainable_weights) == size(oracle.trainable_weights)
    assert knc.summary(model).macs == knc.summary(oracle).macs
    if alpha == 1.0:  # 569 million in the paper.
        assert knc.summary(model).macs == 568_740_352


@pytest.mark.parametrize(
    ("side", "strides"), [(28, 1), (32, 1), (33, 2), (None, 2)]
)
def test_mobilenet_stem(side, strides):
    model = networks.mobilenet_v1((side, side, 1), alpha=0.25)
    assert model.get_layer("conv1").strides == (strides, strides)


@pytest.mark.parametrize(
    "build",
    [
        networks.cnn4,
        networks.alexnet,
        functools.partial(networks.resnet18, width=0.05, stem="large"),
        functools.partial(networks.vgg11, width=0.25),
        functools.partial(networks.resnet, 8),
        functools.partial(networks.resnet, 8, shortcut="conv"),
        functools.partial(networks.resnet_v2, 11),
        networks.densenet40,
        functools.partial(networks.wide_resnet, 10, 2),
        functools.partial(networks.mobilenet_v1, alpha=0.25),
    ],
)
def test_probabilities_of_grey_images(build):
    model = build(input_shape=(28, 28, 1), classes=7)
    (y,) = run(model, images(model, 2))
    assert y.shape == (2, 7) and np.all(y >= 0)
    assert np.allclose(y.sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize("name", ["resnet20", "densenet40"])
def test_saved_and_loaded(name, tmp_path):
    model = built(name)
    x = images(model, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(run(loaded, x), run(model, x))


@pytest.mark.parametrize(
    ("build", "depth", "form"),
    [
        (networks.resnet, 21, r"6 n \+ 2"),
        (networks.resnet, 2, r"6 n \+ 2"),
        (networks.resnet, "20", r"6 n \+ 2"),
        (networks.resnet_v2, 21, r"9 n \+ 2"),
        (functools.partial(networks.wide_resnet, width=1), 26, r"6 n \+ 4"),
    ],
)
def test_bad_depth(build, depth, form):
    with pytest.raises(ValueError, match=rf"{form} .*: depth={depth!r}$"):
        build(depth)


def test_bad_stem():
    with pytest.raises(ValueError, match="Received: stem='none'$"):
        networks.resnet18(stem="none")


def test_bad_shortcut():
    with pytest.raises(ValueError, match="Received: shortcut='zeros'$"):
        networks.resnet(20, shortcut="zeros")


def test_unknown_network():
    with pytest.raises(ValueError, match="resnet164.*: model='resnet7'$"):
        networks.get("resnet7")
