"""What reports/index.html shows besides the report's sections: figures with their words, and the environment."""

import re

from PIL import Image
from report_studies import toy

from pfml.report.page import OTHER_RUNS, captioned, sections
from pfml.report.stamps import runs_digest, stamp, stamp_of
from pfml.tracking.environment import environment
from pfml.tracking.provenance import COLUMNS
from tests.conftest import ROOT


def test_every_committed_figure_has_words_and_its_place_in_their_order(tmp_path):
    for name in ("zebra", "gallery-glyphs", "gallery-cub200", "overview", "loss-scale"):
        Image.new("P", (4, 3)).save(tmp_path / f"{name}.png")
    found = captioned(tmp_path, ROOT / "docs/figures.md", {"glyphs": "", "cub200": ""})
    assert [path.stem for path, _ in found][:3] == ["overview", "gallery-cub200", "gallery-glyphs"]
    assert found[-1][0].stem == "zebra" and found[-1][1] == "**zebra**"
    assert all(len(text) > 60 for path, text in found[:-1]) and len(found) == 5
    only = captioned(tmp_path, ROOT / "docs/figures.md", {"cub200": ""})
    assert {path.stem for path, _ in found} - {path.stem for path, _ in only} == {"gallery-glyphs"}
    assert len(sections((ROOT / "docs/figures.md").read_text())) >= 9


def test_a_figure_of_other_runs_says_so(tmp_path):
    runs = {name: runs_digest(toy(grid={"seed": seeds}).grid) for name, seeds in (("today", [0]), ("before", [0, 1]))}
    assert runs["today"] == runs_digest(reversed(toy(grid={"seed": [0]}).grid)) != runs["before"]
    for name, digest in (("tsne", runs["today"]), ("proxies", runs["before"]), ("gallery", None)):
        path = tmp_path / f"{name}-glyphs.png"
        Image.new("RGB", (4, 3), (7, 8, 9)).quantize(2).save(path)
        if digest:
            stamp(path, digest)
        assert stamp_of(path) == digest and Image.open(path).convert("RGB").getpixel((1, 1)) == (7, 8, 9)
    found = {path.stem: text for path, text in captioned(tmp_path, ROOT / "docs/figures.md", {"glyphs": runs["today"]})}
    assert [stem for stem, text in found.items() if OTHER_RUNS in text] == ["proxies-glyphs"] and len(found) == 3


def test_the_environment_names_versions_hardware_code_and_data(raw, write, tmp_path):
    from pfml.settings.load import load_params

    (tmp_path / "requirements.lock").write_text("")
    results = [{"dataset": name, "dataset_digest": digest} for name, digest in (("b", "f" * 32), ("a", "e" * 32))]
    trained = [dict.fromkeys(COLUMNS, "") | {"git_commit": commit} for commit in ("2" * 40, "1" * 40, "2" * 40)]
    trained[0] |= {
        "kind": "x86-64 with AVX2",
        "processor": "AMD EPYC",
        "threads": "1",
        "torch": "2.9.0",
        "python": "3.11",
    }
    params = load_params(write(raw))
    (tmp_path / "params.yaml").unlink()
    found = environment(params, results, trained, tmp_path)
    flat = " ".join(text for value in found.values() for text in ([value] if isinstance(value, str) else value))
    assert re.search(r"Python 3\.\d+", flat) and re.search(r"torch \d+\.\d+", flat) and "cores" in flat
    assert found["Code (Git commits)"] == [f"{'1' * 40} (1 runs)", f"{'2' * 40} (2 runs)"]
    assert found["Kinds of processors that trained the results"] == [
        "not recorded (2 runs)",
        "x86-64 with AVX2 (1 runs)",
    ]
    assert found["Libraries of the trainings"] == ["not recorded (2 runs)", "python 3.11, torch 2.9.0 (1 runs)"]
    assert found["Dataset b (start of its SHA-256)"] == ["f" * 32] and found["Seeds of the study"] == "0"
    assert "e3b0c44298fc1c149afbf4c8996fb924" in flat and "params.yaml is not here" in flat
