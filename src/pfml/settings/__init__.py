"""params.yaml: reading it, checking it, and the plan that every later stage works by."""


class ConfigError(ValueError):
    """A setting that cannot be used. Its text is one line for the user."""
