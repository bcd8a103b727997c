"""[public] A trained network for images of your own: `pfml.load`, `pfml embed`, `pfml search`.

`find` finds the folder of a run, `pictures` the images in folders and lists. `model` is a network with its
preprocessing, `files` writes embeddings, `index` searches a folder of images, `page` shows what was found. `export`
writes a network for other programs, with `preprocessing` and a model `card`. `served` is what MLflow loads,
`neighbours` the picture on a run's page there.
"""

from pfml.training.networks.extras import extra

with extra("pfml.use"):
    import PIL  # noqa: F401, where it is missing so is the rest of the extra
