"""Names in the report's texts, which are Markdown: whatever is in a name is shown, and nothing of it is read.

Names are those of classes, datasets, networks and machines, and all words of result files, which other people may have
written. `literal` puts a backslash before each sign that Markdown would read. Every writer first takes these signs out
of its reach (`shielded`), and puts them back in its own spelling at the end (`opened`).
"""

import re
from collections.abc import Callable

SIGNS = re.compile(r"[\\`*\[\]<>|#&~$!]|(?<![^\W_])_|_(?![^\W_])")  # an underscore within a word is one
ESCAPED = re.compile(r"\\([\\`*\[\]<>|#&~$!_])")
CONTROLS = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029), " ")
FIRST = 0xF0000  # private characters, which no text has, stand for the signs


def literal(text: object) -> str:
    """A name as Markdown that shows it; in one line."""
    return SIGNS.sub(r"\\\g<0>", str(text).translate(CONTROLS))


def code(text: object) -> str:
    """A name as `code`; one with signs of Markdown stands without, since code has no backslashes."""
    shown = literal(text)
    return f"`{shown}`" if shown == str(text) and shown.strip() else shown


def shielded(text: str) -> str:
    return ESCAPED.sub(lambda found: chr(FIRST + ord(found[1])), text)


def opened(text: str, spelled: Callable[[str], str] = str) -> str:
    """The signs that `shielded` took out, as `spelled` writes each."""
    return re.sub(f"[{chr(FIRST)}-{chr(FIRST + 0x7F)}]", lambda found: spelled(chr(ord(found[0]) - FIRST)), text)


def cell(text: str) -> str:
    """Text for a cell of a CSV file: a spreadsheet would run `=HYPERLINK(...)` and the like, so that it gets a `'` in
    front. A number stays one, also with words behind (`+0.7 % at M 5`).
    """
    risky = text[:1] in tuple("=@\t\r+-") and not re.fullmatch(r"[+-][\d.]+[\w\s.,;%+-]*", text)
    return f"'{text}" if risky else text
