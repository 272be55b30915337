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
        found.append((use, stacked[0], np.ptp(stacked, axis=0) == 0))
    return found


def unfoldable(trace, keep, masked_model):
    """Dropped classes whose constant no bias can stand for: root -> why."""
    found = {}
    for use, constants, uniform in sent_constants(trace, keep, masked_model):
        folds = rules.REGISTRY[type(use.layer)].folds_constants(use.layer)
        roots = trace.root_of[use.ids]
        stuck = ~keep[roots] & (~uniform | ((constants != 0) & (not folds)))
        stuck &= _reads(use)
        for index in np.flatnonzero(stuck):
            found[roots[index]] = (
                f"sends {constants[index]:.3g} into '{use.layer.name}', "
                "where no bias can replace it"
            )
    return found


def bias_changes(trace, keep, masked_model):
    """Layer name -> what to add to its bias, before its filters are cut."""
    changes = {}
    for use, constants, _ in sent_constants(trace, keep, masked_model):
        kernel = keras.ops.convert_to_numpy(
            masked_model.get_layer(use.layer.name).kernel
        ).astype("float64")
        dropped = ~keep[trace.root_of[use.ids]]
        sent = np.where(dropped, constants, 0).astype("float64")
        changes[use.layer.name] = np.tensordot(
            sent, kernel, axes=(0, use.axis)
        ).sum(axis=tuple(range(kernel.ndim - 2)))
    return changes


def new_biases(trace, keep, masked_model):
    """Layer name -> size of the bias that it has to be given."""
    makers = {use.layer.name: use for use in trace.of_role("filter")}
    return {
        name: int(keep[trace.root_of[makers[name].ids]].sum())
        for name, change in bias_changes(trace, keep, masked_model).items()
        if change.any() and not makers[name].layer.use_bias
    }


def _reads(use):
    kernel = keras.ops.convert_to_numpy(getattr(use.layer, use.weight))
    return (
        np.moveaxis(kernel, use.axis, 0)
        .reshape(kernel.shape[use.axis], -1)
        .any(axis=1)
    )
