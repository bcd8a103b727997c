"""params.yaml as typed, frozen objects: a class per section, and what of them does not fit together."""
