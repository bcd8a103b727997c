"""Read and check params.yaml, and write the plan that every later stage reads."""


class ConfigError(ValueError):
    """A setting that cannot be used. The message is one line for the user."""
