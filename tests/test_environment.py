"""docs/environment.md lists the environment variables of the project: all of them, and no others."""

import ast
import re

import pytest

from tests.conftest import ROOT

NAME = r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*"
LONG = r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+"  # with an underscore: in a file that uses os.environ hardly anything else
NO_VARIABLES = {  # a name of Git, and errors of MLflow
    "FETCH_HEAD", "RESOURCE_DOES_NOT_EXIST", "RESOURCE_ALREADY_EXISTS", "INVALID_PARAMETER_VALUE", "INVALID_STATE",
}  # fmt: skip
MAKE_OWN = {"MAKEFLAGS", "CURDIR", "UV"}  # what make and the Makefile define themselves
READS = ("get", "setdefault", "pop")


def of_python(text: str) -> set[str]:
    """Keys of os.environ; in a file that uses it also every text that looks like one, as in a dict for a process."""
    nodes = list(ast.walk(ast.parse(text)))
    if not any(isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv") for node in nodes):
        return set()
    keys = []
    for node in nodes:
        if isinstance(node, ast.Constant) and re.fullmatch(LONG, str(node.value)) and node.value not in NO_VARIABLES:
            keys.append(node)
        elif isinstance(node, ast.Subscript) and is_environ(node.value):
            keys.append(node.slice)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            name, of = node.func.attr, node.func.value
            keys += node.args[:1] if name == "getenv" or (name in READS and is_environ(of)) else []
    return {key.value for key in keys if isinstance(key, ast.Constant)}


def is_environ(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and node.attr == "environ"


def of_make(text: str) -> set[str]:
    """Exported variables, and those that make takes from its command line or the environment."""
    code = re.sub(r"^#.*|\s##.*", "", text, flags=re.M)
    return set(re.findall(rf"^export ({NAME})\b|", code, re.M) + re.findall(rf"\$\(({NAME})\)", code)) - MAKE_OWN - {""}


def of_shell(text: str) -> set[str]:
    """`${NAME...}`, and `NAME=value` before a command."""
    return set(re.findall(rf"\$\{{({NAME})", text) + re.findall(rf"(?:^|\s)({LONG}|PYTHONPATH)=", text, re.M))


@pytest.fixture(scope="module")
def used() -> dict[str, str]:
    """Variable -> a file that reads or sets it."""
    files = [path for folder in ("src", "stages", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]
    readers = dict.fromkeys(files, of_python) | {
        ROOT / "Makefile": of_make, ROOT / "dvc.yaml": of_shell, ROOT / ".ci/run": of_shell,
    }  # fmt: skip
    return {
        name: path.relative_to(ROOT).as_posix() for path, read in readers.items() for name in read(path.read_text())
    }


@pytest.fixture(scope="module")
def listed() -> list[str]:
    """The names in the first cells of the tables of the page."""
    first = re.findall(r"^\| (`[^|]*) \|", (ROOT / "docs/environment.md").read_text(), re.M)
    return [name for cell in first for name in re.findall(rf"`({NAME})`", cell)]


def test_variables_are_found_in_code():
    code = (
        'import os\nos.environ["A"]; os.environ.get("B", "X Y"); os.getenv("C"); "D_E" in os.environ\n'
        'run(env=os.environ | {"F_G": "1"}); "H"; {}.get("I")'
    )
    assert of_python(code) == {"A", "B", "C", "D_E", "F_G"}
    assert of_python('{"F_G": 1}') == set()
    assert of_make("export A := $(CURDIR)\nB ?= 1\n# $(C)\nx: y ## z $(D)\n\t@z $(B)\n") == {"A", "B"}
    assert of_shell('cmd: PYTHONPATH=src python ${item}\nif [ -z "${K_L:-}" ]') == {"PYTHONPATH", "K_L"}


def test_every_variable_is_listed(used, listed):
    assert {"PFML_CACHE", "PORT", "CUDA_VISIBLE_DEVICES", "J", "DVC_STAGE"} <= set(used)
    assert {name: file for name, file in used.items() if name not in listed} == {}, "missing in docs/environment.md"


def test_every_listed_variable_is_used_and_listed_once(used, listed):
    assert len(listed) == len(set(listed))
    assert set(listed) - set(used) == set(), "nothing reads or sets it: remove it from docs/environment.md"
