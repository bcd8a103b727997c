"""`make repro`, `make repro PRESET=<name>`, `pfml grid`, `pfml sweep`, `make default`, `make verify` and `pfml where`.

locks     what a stop leaves in DVC's own files, mended before anything runs
cache     damaged files in DVC's cache, found before anything is taken from there
dvc       DVC as the pipeline calls it: an error that it logs makes it fail
pipeline  what is stale is run, independent runs side by side
missing   what need not be trained, since its result is there
copies    a preset runs in a working copy of its own, .studies/<preset>/
results   what a preset's study brings back to the project
table     the results of one study as one table
grid      the trainings of a study on a cluster; engines/ has what runs them, progress what they print
searches  the searches of a study there, several trials at a time
sweep/    settings over lists of values, every combination an experiment of DVC
verify    committed numbers beside those of this machine; rerun makes one run again
where     where a number comes from; cells finds rows by what a table prints
default   params.yaml and dvc.lock as they are committed, unless that would lose something
"""
