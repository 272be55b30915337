"""Random graphs of every layer family, and what has to hold for their plans.

A graph grows block by block. A kind of block is a function `x, rng -> x`; to
add one, write it beside its like under `@block(...)`, and say in
`test_random_graphs.py` if channels cannot be pruned through it.

    PYTHONPATH=tests python -m graphs SEED
"""

import importlib
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from graphs.checking import check
from graphs.checking import describe
from graphs.checking import within
from graphs.draws import KINDS
from graphs.growing import sources

__all__ = ["KINDS", "check", "describe", "sources", "within"]

# Each of these registers its blocks. What a seed draws counts on their order.
FAMILIES = (
    "weighted",
    "normalizing",
    "elementwise",
    "positions",
    "axes",
    "merging",
    "sequences",
    "operations",
    "nested",
    "own",
)

for family in FAMILIES:
    importlib.import_module(f"graphs.{family}")
