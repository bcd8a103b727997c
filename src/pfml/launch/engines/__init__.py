"""Engines, which run the tasks of a pipeline: on this machine, or on the nodes of a cluster.

task       what an engine is given and what it gives back
local      processes of this machine: `make repro`, `pfml sweep`
place      the driver's tree on a node
here       one task on the node where it is called, whichever engine brought it there
node       the process of that task, in the driver's tree
on_ray     a Ray cluster
on_slurm   a cluster with Slurm, through submitit
"""
