"""The image backbones of KerasHub unfold and lose what is asked of them."""

import inspect
import os

import keras
import numpy as np
import pytest
from keras import tree
from test_architectures import randomize

import keras_nonconvex as knc
from keras_nonconvex import pruning
from keras_nonconvex import unfolding

models = pytest.importorskip("keras_hub").models
from hub_backbones import BACKBONES  # noqa: E402

# Where no less can stay: the layer that stays whole, in the plan's words.
HELD = {
    # Its blocks return None beside their output, which Keras does not record.
    "DeiTBackbone": "no rule for DeiTEncoder",
    # It resizes by functions of a backend.
    "DepthAnythingBackbone": "no rule for DepthAnythingFeatureFusionLayer",
    # Weights of its own.
    "MobileNetV5Backbone": "no rule for RmsNorm2d",
    "PARSeqBackbone": "no rule for PARSeqDecoder",
    # It declares 17 tokens and returns 16.
    "SigLIPVisionEncoder": "no rule for SigLIPVisionEmbedding",
}

# Backbones with a layer that KerasHub itself cannot make again.
REFUSED = {
    "DFineBackbone": "Layer 'decoder' cannot be made anew from its config",
    "SwinTransformerBackbone": "Layer 'attn' cannot be made anew from its",
}

CHEAP = ["EfficientNetBackbone", "MobileNetBackbone", "ViTBackbone"]


def samples(model):
    rng = np.random.default_rng(0)
    flat = [
        rng.integers(0, 2, (2, *(n or 4 for n in t.shape[1:]))).astype(t.dtype)
        if "int" in t.dtype
        else rng.normal(size=(2, *(n or 4 for n in t.shape[1:])))
        for t in model.inputs
    ]
    return tree.pack_sequence_as(model.input, flat)


def difference(first, second, x):
    pairs = zip(
        *(tree.flatten(m(x, training=False)) for m in (first, second)),
        strict=True,
    )
    pairs = [[keras.ops.convert_to_numpy(y) for y in pair] for pair in pairs]
    return max(np.abs(a - b).max() / np.abs(a).max() for a, b in pairs)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "name", sorted(BACKBONES) if "FUZZ_GRAPHS" in os.environ else CHEAP
)
def test_image_backbones_are_pruned_exactly(name):
    model = randomize(BACKBONES[name]())
    x = samples(model)
    assert difference(model, unfolding.functional(model), x) < 1e-5
    if name in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name]):
            knc.prune(model, budget={"params": 0.6}, round_to=1)
        return
    plan = pruning.plan(model, budget={"params": 0.6}, round_to=1)
    assert plan.met or HELD[name] in plan.limit
    small, masked = plan.apply(model), plan.mask(model)
    assert small.count_params() == plan.after["params"]
    assert difference(masked, small, x) < 1e-4
    keras.backend.clear_session()


def test_every_image_backbone_is_tried():
    found = {
        name
        for name, kind in vars(models).items()
        if inspect.isclass(kind)
        and issubclass(kind, models.Backbone)
        and {"image_shape", "image_encoder", "input_shape"}
        & inspect.signature(kind).parameters.keys()
    }
    # These two turn text into images.
    others = {"FluxBackbone", "StableDiffusion3Backbone"}
    assert found - BACKBONES.keys() == others
