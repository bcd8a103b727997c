"""One YAML file over another, on files small enough to check by hand."""

import pytest
import yaml

from pfml.settings.overlay import merge, overrides, rewritten

TEXT = """# settings
study: old   # its name
grid:
  noise:
  - 0.0      # clean
  - 0.2

# --- one section a method ---
baseline:
  triplet:   # Schroff et al.
    loss:
      margin: 0.05  # tuned
    train:
      lr: 3.0e-3    # tuned
train:
  lr: 0.1    # peak
  decay: null
# the end
"""


def test_sections_merge_values_and_lists_replace_methods_are_replaced_as_a_whole():
    base = {
        "grid": {"noise": [0, 1], "seed": [0]},
        "field": {"pfml": {"loss": {"m": 1}, "train": {"lr": 1}}, "cpml": {}},
    }
    changes = {"grid": {"noise": [2]}, "field": {"pfml": {"train": {"clip": 1}}}}
    assert merge(base, changes) == {
        "grid": {"noise": [2], "seed": [0]}, "field": {"pfml": {"train": {"clip": 1}}, "cpml": {}},
    }  # fmt: skip
    assert base["grid"]["noise"] == [0, 1] and merge(base, {}) == base
    assert merge(merge(base, changes), changes) == merge(base, changes)


def test_only_what_differs_is_rewritten():
    target = {
        "study": "new",
        "grid": {"noise": [0.5]},
        "baseline": {"triplet": {"loss": {"margin": 0.1}, "train": {}}},
        "train": {"lr": 1e-5, "decay": None, "clip": True},
    }
    assert (
        rewritten(TEXT, target)
        == """# settings
study: new   # its name
grid:
  noise:
  - 0.5

# --- one section a method ---
baseline:
  triplet:   # Schroff et al.
    loss:
      margin: 0.1
    train: {}
train:
  lr: 1.0e-05 # peak
  decay: null
  clip: true
# the end
"""
    )
    assert rewritten(TEXT, yaml.safe_load(TEXT)) == TEXT


def test_a_list_is_emptied_and_an_entry_dropped():
    assert "  noise: []\n\n# --- one" in rewritten(TEXT, yaml.safe_load(TEXT) | {"grid": {"noise": []}})
    gone = {key: value for key, value in yaml.safe_load(TEXT).items() if key != "baseline"}
    assert rewritten(TEXT, gone) == TEXT.replace(TEXT[TEXT.index("baseline:") : TEXT.index("train:\n  lr: 0.1")], "")


def test_what_cannot_be_rewritten_line_by_line_is_refused():
    for text in ("{a: 1, b: 2}\n", "train: {a: 1}\nloss:\n  {a: 1,\n  b: 2}\n# {\n"):
        assert rewritten(text, yaml.safe_load(text)) == text
    with pytest.raises(ValueError, match="block style"):
        rewritten("{a: 1, b: 2}\n", {"a": 1, "b": 3})
    with pytest.raises(ValueError, match="block style"):
        rewritten("{a: 1,\n b: 2}\n", {"a": 3, "b": 2})


def test_overrides_set_add_and_drop():
    base = {"a": 1, "section": {"old": [1], "same": 0}, "empty": {}}
    target = {"a": None, "section": {"same": 0, "new": [0.5, "x"], "flag": True}, "empty": {"k": 2}, "none": {}}
    assert overrides(base, target) == [
        "a=null", "~section.old", "++section.new=[0.5,x]", "++section.flag=true", "++empty.k=2", "++none={}",
    ]  # fmt: skip
    assert overrides(base, base) == []
