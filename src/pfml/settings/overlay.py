"""Override the settings of one YAML file with another's: as data, as text with its comments, and as `-S` overrides.

The rule: sections merge key by key; any other value, also a list, replaces the old one. An entry of `field`, `baseline`
or `recipe` (a method, a dataset) is replaced as a whole, so that it keeps no setting of another study.
"""

import json

import yaml

from pfml.settings.validation import Loader

WHOLE = ("field", "baseline", "recipe")


def merge(base: dict, changes: dict, path: tuple[str, ...] = ()) -> dict:
    """A copy of `base` with `changes`, by the rule above."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = merge(base[key], value, (*path, key)) if both and not _whole(path) else value
    return merged


def _whole(path: tuple[str, ...]) -> bool:
    """Whether the entries of the section at `path` are replaced as a whole."""
    return len(path) == 1 and path[0] in WHOLE


def overrides(base: dict, target: dict, path: tuple[str, ...] = ()) -> list[str]:
    """Arguments of `dvc exp run -S` that turn `base` into `target`: key=value, ++key=value (new), ~key (removed)."""
    arguments = []
    for key in [*base, *(key for key in target if key not in base)]:
        name, value = ".".join((*path, key)), target.get(key)
        if key not in target:
            arguments.append(f"~{name}")
        elif isinstance(value, dict) and isinstance(base.get(key, {}), dict) and (value or key in base):
            arguments += overrides(base.get(key, {}), value, (*path, key))
        elif key not in base or value != base[key]:
            arguments.append(f"{'' if key in base else '++'}{name}={_written(value)}")
    return arguments


def _written(value) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return json.dumps(value) if value is None or isinstance(value, bool | dict) else str(value)


def rewritten(text: str, target: dict) -> str:
    """The YAML text with the data of `target`. Lines with equal data stay as they are, with their comments.

    The comment beside a changed key stays. Comments inside a list or an entry that is replaced as a whole are lost.

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
    """(first line, line after the last, new lines) of every entry that differs; counted from 0, without overlap."""
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


def differing_lines(text: str, base: dict) -> str:
    """The lines of a YAML text whose settings `base` lacks or has with another value, with their comments: a preset
    that makes `text` of `base`. An entry that is replaced as a whole comes whole. Block style is expected.
    """
    lines = text.splitlines(keepends=True)
    return "".join(lines[number] for number in _differing(yaml.compose(text, Loader), base))


def _differing(section: yaml.MappingNode, base: dict, path: tuple[str, ...] = ()) -> list[int]:
    """Numbers of the lines of entries that differ, each below the lines of the sections that it is in."""
    constructor, found = Loader(""), []
    for key_node, node in section.value:
        key, first = key_node.value, key_node.start_mark.line
        value, old = constructor.construct_object(node, deep=True), base.get(key)
        if key in base and value == old and type(value) is type(old):
            continue
        block = isinstance(node, yaml.MappingNode) and not node.flow_style
        if block and isinstance(old, dict) and not _whole(path):
            found += [first, *_differing(node, old, (*path, key))]
        else:
            found += range(first, _last_line(node) + 1)
    return found


def _last_line(node: yaml.Node) -> int:
    """Last line of a node's content, from its children, since the parser ends a block where the next one begins."""
    if isinstance(node, yaml.ScalarNode) or node.flow_style:
        return node.end_mark.line
    inner = [part for pair in node.value for part in pair] if isinstance(node, yaml.MappingNode) else node.value
    return max(map(_last_line, inner))


def _lines(key: str, value, column: int) -> list[str]:
    text = yaml.safe_dump({key: value}, sort_keys=False, default_flow_style=False, width=1000)
    return [" " * column + line for line in text.splitlines(keepends=True)]


def _beside(old: str, new: list[str]) -> list[str]:
    """The lines `new` with the comment of the old line, at its column if there is room."""
    if not new or " #" not in old:
        return new
    place = old.index(" #") + 1
    return [new[0].rstrip("\n").ljust(place - 1) + " " + old[place:], *new[1:]]
