"""PFML and the pipeline that reproduces its paper, in the order in which data flows.

settings      params.yaml, checked; which runs it asks for; the plan; presets
datasets      what only the stage `fetch` needs: catalogue, archives, download, own folders and CSVs, glyphs, packing
images        decoding, random access to packed images
labels        who trains, who tests, which labels are wrong: split, folds, noise, held-out classes
losses        [public] common/ · field/ (PFML and CPML, the exact sum) · baselines/ (one file a method)
training      the loop, a run as a process · batches/ · networks/
retrieval     [public] Recall@K, MAP@R, R-Precision, NMI; memorisation of wrong labels
wasserstein   [public] W2 between proxies and data
evaluation    measures of trained runs, few-shot, folds, timings
tracking      MLflow: the only package that imports it
tuning        the search for settings
report        published numbers, results, verdicts, claims, tables, the page
theory        Proposition 1 and Corollary 1 in numbers, and what is said of them
figures       one file a figure: what it shows and how it is drawn
launch        `make repro`, also in a preset's working copy; what a stop leaves; `make default`; `make verify`
cli           the command `pfml`
stage         how the process of a stage starts and fails
"""

__version__ = "0.1.0"
