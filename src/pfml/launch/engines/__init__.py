"""Where the trainings of `pfml grid` run: on this machine, or on the nodes of a cluster.

task       what an engine is given and what it gives back
place      the driver's tree on a node
node       one task on a node, whichever engine brought it there
on_ray     a Ray cluster
"""
