"""`pfml sweep`: settings over lists of values, every combination a DVC experiment, one table and one figure of all.

points     the combinations, each with its params.yaml and the methods that it reaches
runs       each combination in a working copy of its own, several at a time
shown      the table, the figure and the file of results
"""
