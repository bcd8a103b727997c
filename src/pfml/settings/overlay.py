"""Laying one YAML file over another: the merge itself, its text with comments kept, and the same as `-S` overrides.

One rule. Sections merge key by key; any other value replaces, a list too. An entry of `field`, `baseline` or `recipe`
(a method, a dataset) is replaced as a whole, so that no setting chosen for another study is left in it.
"""

import json

import yaml

from pfml.settings.validation import Loader

WHOLE = ("field", "baseline", "recipe")


def merge(base: dict, changes: dict, path: tuple[str, ...] = ()) -> dict:
    """`base` with `changes` laid over it by the rule above; neither is changed."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value, (*path, key)) if both and not _whole(path) else value
    return merged


def _whole(path: tuple[str, ...]) -> bool:
    """Whether what stands in the section at `path` is replaced as a whole."""
    return len(path) == 1 and path[0] in WHOLE


def overrides(base: dict, target: dict, path: tuple[str, ...] = ()) -> list[str]:
    """What `dvc exp run -S` needs to make `target` of `base`: key=value, ++key=value for a new key, ~key to drop it."""
    found = []
    for key in [*base, *(key for key in target if key not in base)]:
        name, value = ".".join((*path, key)), target.get(key)
        if key not in target:
            found.append(f"~{name}")
        elif isinstance(value, dict) and isinstance(base.get(key, {}), dict) and (value or key in base):
            found += overrides(base.get(key, {}), value, (*path, key))
        elif key not in base or value != base[key]:
            found.append(f"{'' if key in base else '++'}{name}={_written(value)}")
    return found


def _written(value) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool | dict) else str(value)


def rewritten(text: str, target: dict) -> str:
    """The YAML file `text` with the data of `target`: lines that need no change stay as they are, comments included.

    The comment beside a name stays; those inside a list or an entry that is replaced as a whole go with what they are
    about.

    Raises:
        ValueError: this text cannot be changed line by line (braces or several keys on a line).
    """
    lines = text.splitlines(keepends=True)
    for first, last, replacement in sorted(_edits(yaml.compose(text, Loader), target), reverse=True):
        lines[first:last] = _beside(lines[first], replacement) if first < last else replacement
    changed = "".join(lines)
    try:
        right = yaml.load(changed, Loader) == target
    except yaml.YAMLError:
        right = False
    if not right:
        raise ValueError("expected YAML in block style, one key a line, found another")
    return changed


def _edits(section: yaml.MappingNode, target: dict, path: tuple[str, ...] = ()) -> list[tuple[int, int, list[str]]]:
    """(first line, line after the last, new lines) for every entry that differs; counted from 0, none overlapping."""
    constructor, edits, left = Loader(""), [], dict(target)
    for key_node, node in section.value:
        key, column = key_node.value, key_node.start_mark.column
        first, end = key_node.start_mark.line, _last_line(node) + 1
        if key not in left:
            edits.append((first, end, []))
            continue
        value, old = left.pop(key), constructor.construct_object(node, deep=True)
        if value == old and type(value) is type(old):
            continue
        block = isinstance(node, yaml.MappingNode) and not node.flow_style
        if block and isinstance(value, dict) and value and not _whole(path):
            edits += _edits(node, value, (*path, key))
        else:
            edits.append((first, end, _lines(key, value, column)))
    if left:
        column, end = section.value[0][0].start_mark.column, _last_line(section) + 1
        edits.append((end, end, [line for key, value in left.items() for line in _lines(key, value, column)]))
    return edits


def _last_line(node: yaml.Node) -> int:
    """Where the content of a node ends; the end of a block, as the parser marks it, is where the next one begins."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style:
        return node.end_mark.line
    inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    return max(map(_last_line, inner))


def _lines(key: str, value, column: int) -> list[str]:
    text = yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=False, width=1000)
    return [" " * column + line for line in text.splitlines(keepends=True)]


def _beside(old: str, new: list[str]) -> list[str]:
    """`new` with the comment of the line that it replaces, at its column if there is room."""
    if not new or " #" not in old:
        return new
    place = old.index(" #") + 1
    return [new[0].rstrip("\n").ljust(place - 1) + " " + old[place:], *new[1:]]
