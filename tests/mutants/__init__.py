"""Mutants: one-line faults, each of which the suite has to notice.

    make mutants                      all of them
    make mutants ONLY="scad parity"   those that contain one of these words

`table.py` lists them. Each is tried on a copy of the project: its line is
changed, the tests that the table names are run, and the mutant is killed if
one of them fails. Before that, the same tests must pass on a sound copy.
"""
