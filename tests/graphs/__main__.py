"""Describes and checks the graphs of the given seeds."""

import sys

import graphs

for seed in map(int, sys.argv[1:]):
    print(graphs.describe(seed))
    print(graphs.check(seed))
