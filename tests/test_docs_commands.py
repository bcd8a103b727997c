"""Every command line of README.md, of the other pages beside it and of docs/ works as typed, in a fresh clone.

A command line is a line of a block fenced as sh or bash, or of a block without a language that begins with a program of
PROGRAMS. It is run unless it stands in EXEMPT. Of `dvc exp run`, which trains for minutes to days, the first stage is
run: it reads every setting and tries every loss.
"""

import os
import re
import signal
import subprocess
from functools import cache

import pytest
import yaml

from tests.conftest import ROOT
from tests.installed import environment, installed_clone, sh

SECONDS = 120  # for a line

TRAINS = "trains for minutes to days; tests/pipeline runs the same on a tiny study"
GPU = "fetches a dataset and trains on a GPU; tests/settings lays every preset over params.yaml"
ELSEWHERE = "needs results of a machine with a GPU; tests/benchmarks runs the same in miniature"
IMAGES = "needs a trained network and images; tests/use has both"
CLUSTER = "needs a cluster; tests/launch has one of two nodes on this machine"
GRID = "pfml grid --on slurm --slurm partition=gpu,gpus_per_node=1,time=600,array_parallelism=32"
SWEEP = "trains for minutes; tests/launch/test_sweep.py runs one"
EXEMPT = {  # line without its comment: why no test runs it as it stands
    "make repro": TRAINS,
    "make repro PRESET=quick": TRAINS,
    "make test": "this test is part of it",
    "make default && make repro": TRAINS,
    "make verify RUNS=3": TRAINS,
    "make repro PRESET=cub200-first": GPU,
    "make repro PRESET=cub200-resnet50": GPU,
    "make repro PRESET=mlrc-glyphs -j 2": TRAINS,
    "make repro PRESET=mlrc-cub200": GPU,
    "make repro PRESET=glyphs-tune": TRAINS,
    "make gpu": "nine minutes where there is a GPU; tests/benchmarks runs the miniature",
    "make gpu-bundle": "needs the folder of PFML_REAL_DATA and the package index; tests/benchmarks makes one",
    "python3 benchmarks/gpu.py --bundle gpu/bundle --out results --minutes 9": ELSEWHERE,
    "python benchmarks/gpu.py --record results": ELSEWHERE,
    "make ui": "a server that runs until it is stopped; tests/tracking opens its pages",
    "pfml rerun glyphs/glyphs-pfml-0.2-0": "trains in a clone; tests/pipeline makes a run of a tiny study again",
    "pfml embed photos more/photo.jpg --run glyphs-pfml-0.2-0 --out embeddings.npz": IMAGES,
    "pfml embed photos --run models/grid/birds/pfml-0.0-0 --out embeddings.parquet": IMAGES,
    "pfml search query.jpg --run glyphs-pfml-0.2-0 --index photos -k 5 --page found.html": IMAGES,
    "pfml export --run glyphs-pfml-0.2-0 --format onnx --out pfml-onnx": IMAGES,
    "pfml register-model --run glyphs-pfml-0.2-0 --name glyphs": IMAGES,
    "MLFLOW_TRACKING_URI=sqlite:///$PWD/mlflow.db "
    "mlflow models serve -m models:/glyphs/1 --env-manager local --port 5001": IMAGES,
    'echo "{\\"dataframe_records\\": [{\\"image\\": \\"$(base64 -w 0 query.png)\\"}]}" > query.json': IMAGES,
    'curl -H "Content-Type: application/json" -d @query.json http://127.0.0.1:5001/invocations': IMAGES,
    "make engines": CLUSTER,
    "dvc remote add --default --local store s3://bucket/pfml": CLUSTER,
    "dvc cache dir --local /shared/pfml": CLUSTER,
    "dvc remote modify --local store endpointurl https://s3.example.org": CLUSTER,
    "dvc remote modify --local store read_timeout 10": CLUSTER,
    "export AWS_MAX_ATTEMPTS=1": CLUSTER,
    "mlflow server --backend-store-uri postgresql://user:password@db.example.org/mlflow "
    "--artifacts-destination s3://bucket/mlflow": CLUSTER,
    "export MLFLOW_TRACKING_URI=http://mlflow.example.org:5000": CLUSTER,
    "pfml grid --on ray --address 10.0.0.5:6379 --preset cub200-resnet50": CLUSTER,
    f"{GRID} --preset cub200-resnet50": CLUSTER,
    "pfml grid --on ray --address 10.0.0.5:6379 --preset glyphs-tune": CLUSTER,
    "pfml sweep -S loss.alpha=1..6 -S loss.delta_rep=0.3,0.6,1.2 -S 'grid.noise=[0.2]'": SWEEP,
    "pfml sweep -S loss.alpha=1..6": SWEEP,
    "dvc exp apply alpha-4_delta_rep-0.6": SWEEP,
    "make repro PRESET=mine": "needs a folder of images; tests/pipeline runs it on one",
}
VALUES = {"<name>": "glyphs-noise"}  # what stands for a placeholder; one that is not here fails
LASTING = ("source ", "export ", "cd ")  # lines whose effect lasts to the end of the file
PROGRAMS = ("make", "pfml", "dvc", "python", "git", "pip", "uv", "source", "pytest", "ruff", "bash", "sh")


def commands(text: str) -> list[str]:
    """The command lines of a page: continued lines joined, comments and spaces between words removed."""
    found = []
    for _, language, block in re.findall(r"^( *)```(\w*)[^\n]*\n(.*?)^\1```", text, re.M | re.S):
        lines = re.sub(r"\\\n", " ", block).splitlines()
        lines = [" ".join(re.sub(r"(^|\s+)#\s.*$", "", line).split()) for line in lines]
        lines = [line for line in lines if line]
        first = re.sub(r"^(\w+=\S* )+", "", lines[0]).split()[0] if lines else ""
        if language in ("sh", "bash") or (not language and first in PROGRAMS):
            found += lines
    return found


@cache
def pages() -> dict[str, list[str]]:
    """The pages with their command lines."""
    paths = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
    return {path.relative_to(ROOT).as_posix(): commands(path.read_text()) for path in paths}


def runnable(line: str) -> str:
    """The line with values for placeholders, and of `dvc exp run` the first stage alone."""
    for placeholder in re.findall(r"<[a-z][\w-]*>", line):
        assert placeholder in VALUES, f"{line}: give {placeholder} a value in VALUES"
        line = line.replace(placeholder, VALUES[placeholder])
    first = next(iter(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]))
    return f"{line} {first}" if line.startswith("dvc exp run ") else line


def test_command_lines_are_found_in_a_page():
    page = "\n".join([
        "```sh", "make  a   # why", "dvc b \\", "    -S 'c=[]'", "", "# only a comment", "```", "text `make no`",
        "```python", "import no", "```", "```", "X=1 pfml d '#e'", "```", "```", "no/  a folder", "```",
        "- item", "  ```bash", "  git f", "  ```",
    ])  # fmt: skip
    assert commands(page) == ["make a", "dvc b -S 'c=[]'", "X=1 pfml d '#e'", "git f"]


def test_exempt_lines_stand_in_the_docs_and_say_why():
    lines = {line for found in pages().values() for line in found}
    assert {line for line in EXEMPT if line not in lines} == set(), "no longer in the docs: remove it from EXEMPT"
    assert all(len(why.split()) >= 4 for why in EXEMPT.values())


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return installed_clone(tmp_path_factory.mktemp("docs") / "clone")


@pytest.fixture
def fresh(project):
    """The clone as it was committed; what is not in Git stays."""
    sh(project, "git", "checkout", "-qf", "-B", "typed", "working-tree")
    sh(project, "git", "clean", "-fdq")
    return project


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, marks=[pytest.mark.long] * (page != "README.md"))
        for page, lines in pages().items()
        if set(lines) - set(EXEMPT)
    ],
)
def test_every_line_works_as_typed(page, fresh):
    lasting, failed = ["source .venv/bin/activate"], []
    for line in pages()[page]:
        if line in EXEMPT:
            continue
        output = typed("\n".join([*lasting, runnable(line)]), fresh)
        if output is not None:
            failed.append(f"{line}\n{output[-1500:]}")
        elif line.startswith(LASTING):
            lasting.append(line)
    assert failed == [], "\n\n".join(failed)


def typed(script: str, folder) -> str | None:
    """Run a script; its output if it failed, or was not done in SECONDS."""
    process = subprocess.Popen(
        ["bash", "-e", "-o", "pipefail", "-c", script], cwd=folder, env=environment(), text=True,
        start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        output, _ = process.communicate(timeout=SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return f"{process.communicate()[0]}\nstopped after {SECONDS} seconds: make it cheaper or add it to EXEMPT"
    return output if process.returncode else None
