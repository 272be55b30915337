"""The stages of a run: each file says which steps it consists of.

A stage of your own is a file with a function `steps(job)` that returns a list
of `Step`, and an entry in `STAGES`.
"""

from keras_nonconvex.compression.stages import dense
from keras_nonconvex.compression.stages import exporting
from keras_nonconvex.compression.stages import recovery
from keras_nonconvex.compression.stages import reporting
from keras_nonconvex.compression.stages import shrinking
from keras_nonconvex.compression.stages import sparse

STAGES = (dense, sparse, shrinking, recovery, exporting, reporting)


def steps(job):
    """All steps of a run, in order, as a list of `Step`."""
    return [step for stage in STAGES for step in stage.steps(job)]
