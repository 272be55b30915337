"""The parts of `against_torch_pruning.py`."""
