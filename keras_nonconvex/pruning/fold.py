"""What dropped channels still send: constants, folded into the next bias.

A filter that is zero still sends act(bias) or act(BN shift) downstream. In
the masked model every dropped channel is such a constant, so one forward
pass of any input measures them all.
"""

import collections

import keras
import numpy as np

from keras_nonconvex import graph
from keras_nonconvex.pruning import rules
from keras_nonconvex.pruning.trace import along
from keras_nonconvex.pruning.trace import numpy_weight


def sent_constants(trace, keep, masked_model):
    """[(use, constants, uniform)] for each reader of dropped channels.

    `constants` holds one value per input index of the reader; `uniform` says
    where it is the same at all positions and in all calls of the layer.
    """
    readers = [
        use
        for use in trace.of_role("input")
        if not keep[trace.root_of[use.ids]].all()
    ]
    if not readers:
        return []
    names = {use.layer.name for use in readers}
    tensors = collections.defaultdict(list)
    for call in graph.calls(masked_model):
        if call.operation.name in names:
            tensors[call.operation.name].extend(call.inputs)
    probe = keras.Model(masked_model.input, dict(tensors))
    zeros = keras.tree.map_structure(
        lambda x: np.zeros([n or 1 for n in x.shape], x.dtype),
        masked_model.input,
    )
    values = probe(zeros, training=False)
    found = []
    for use in readers:
        stacked = np.concatenate(
            [
                keras.ops.convert_to_numpy(x).reshape(-1, x.shape[-1])
                for x in values[use.layer.name]
            ]
        )
        mean = stacked.mean(axis=0, dtype="float64")
        # Equal up to rounding: kernels sum in another order at the border.
        spread = np.ptp(stacked, axis=0)
        found.append((use, mean, spread <= 1e-6 * np.abs(mean)))
    return found


def unfoldable(trace, keep, masked_model):
    """Dropped classes whose constant no bias can stand for: root -> why."""
    found = {}
    for use, constants, uniform in sent_constants(trace, keep, masked_model):
        folds = rules.REGISTRY[type(use.layer)].folds_constants(use.layer)
        roots = trace.root_of[use.ids]
        stuck = ~keep[roots] & (~uniform | ((constants != 0) & (not folds)))
        stuck &= along(use, numpy_weight(use)).any(axis=1)
        for index in np.flatnonzero(stuck):
            found[roots[index]] = (
                f"sends {constants[index]:.3g} into '{use.layer.name}', "
                "where no bias can replace it"
            )
    return found


def bias_changes(trace, keep, masked_model):
    """Layer name -> what to add to the bias of the filters that stay."""
    makers = {use.layer.name: use for use in trace.of_role("filter")}
    changes = {}
    for use, constants, _ in sent_constants(trace, keep, masked_model):
        name = use.layer.name
        kernel = numpy_weight(use).astype("float64")
        dropped = ~keep[trace.root_of[use.ids]]
        change = np.tensordot(
            np.where(dropped, constants, 0.0), kernel, axes=(0, use.axis)
        ).sum(axis=tuple(range(kernel.ndim - 2)))
        changes[name] = change[keep[trace.root_of[makers[name].ids]]]
    return changes


def new_biases(trace, keep, masked_model):
    """Layer name -> size of the bias that it has to be given."""
    layers = trace.layers
    return {
        name: len(change)
        for name, change in bias_changes(trace, keep, masked_model).items()
        if change.any() and not layers[name].use_bias
    }
