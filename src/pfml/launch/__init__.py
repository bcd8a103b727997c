"""`make repro`, `make repro PRESET=<name>` and `make default`.

locks     what a stop leaves in DVC's own files, mended before anything runs
cache     damaged files in DVC's cache, found before anything is taken from there
dvc       DVC as the pipeline calls it: an error that it logs makes it fail
pipeline  what is stale is run, independent runs side by side
missing   what need not be trained, since its result is there
copies    a preset runs in a working copy of its own, .studies/<preset>/
results   what a preset's study brings back to the project
table     the results of one study as one table
default   params.yaml and dvc.lock as they are committed, unless that would lose something
"""
