"""What happens to an image before the network, in words and numbers that another program can follow."""

from pfml.use.model import EmbeddingModel

FORMAT = 1  # of preprocessing.json


def preprocessing(model: EmbeddingModel, height: int | None, width: int | None) -> dict:
    """The content of preprocessing.json: input and output of the network, and the steps from a file to its input of
    this size in pixels (None: not known).

    `resize` is the short side in pixels after resizing, `crop` the side of the central square; null for a network that
    takes images as they are, all of one size. Values are divided by `divide_by`, reduced by `mean` and divided by
    `std`, one of each a channel in the order of `channels`.
    """
    transform = model.transform
    steps = ["decode, turn upright by the EXIF orientation, convert to RGB"]
    if transform.size:
        steps += [
            f"resize the short side to {transform.resize} pixels ({transform.interpolation}, antialiased)",
            f"take the central square of {transform.size} pixels",
        ]
    steps += [
        f"order the channels {transform.order}",
        "divide by divide_by, subtract mean, divide by std",
        "lay out as (batch, channel, height, width)",
    ]
    return {
        "format": FORMAT,
        "weights": model.digest,
        "input": {"name": "images", "shape": ["batch", 3, height, width], "dtype": "float32"},
        "output": {"name": "embeddings", "shape": ["batch", model.embedding_dim], "dtype": "float32", "length": 1},
        "resize": transform.resize,
        "crop": transform.size,
        "interpolation": transform.interpolation,
        "channels": transform.order,
        "divide_by": transform.white,
        "mean": list(transform.mean),
        "std": list(transform.std),
        "steps": steps,
    }
