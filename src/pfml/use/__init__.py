"""[public] A trained network for images of your own: `pfml.load`, `pfml embed`.

`model` holds a network with its preprocessing, `find` finds the folder of a run, `pictures` the images in folders and
lists, `files` writes embeddings.
"""
