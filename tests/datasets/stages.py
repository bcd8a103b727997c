"""Running the stage scripts as DVC does, but inside the test, so that addresses can point to a server of the test."""

import runpy
import sys

from tests.conftest import ROOT


class Stages:
    """stages("split", "cub200") runs stages/split.py in the current folder, after stages/plan.py, and returns its exit
    code and output.
    """

    def __init__(self, monkeypatch, capfd):
        self.monkeypatch, self.capfd = monkeypatch, capfd

    def __call__(self, name: str, *arguments: str) -> tuple[int, str]:
        code, said = self._run("plan")
        return (code, said) if code else self._run(name, *arguments)

    def _run(self, name: str, *arguments: str) -> tuple[int, str]:
        self.capfd.readouterr()
        self.monkeypatch.setattr(sys, "argv", [name, *arguments])
        try:
            runpy.run_path(str(ROOT / f"stages/{name}.py"))
            code = 0
        except SystemExit as end:
            code = end.code
        said = self.capfd.readouterr()
        return code, said.out + said.err

    def all(self, dataset: str, noise: str = "0.2") -> str:
        """fetch, split, noise, train, evaluate of one run; what they said."""
        said = ""
        for name, *arguments in (
            ("fetch", dataset), ("split", dataset), ("noise", f"{dataset}-{noise}-0"),
            ("train", f"{dataset}-pfml-{noise}-0"), ("evaluate", f"{dataset}-pfml-{noise}-0"),
        ):  # fmt: skip
            code, output = self(name, *arguments)
            assert code == 0, f"{name}: {output}"
            said += output
        return said


def one_epoch(raw: dict, dataset: str, **recipe) -> dict:
    """params.yaml of one PFML run of one epoch of the small network on a dataset, ablations left out."""
    raw["study"] = "stages"
    raw["grid"] |= {"dataset": [dataset], "field": ["pfml"], "baseline": [], "noise": [0.2]}
    raw["ablation"]["points"] = []
    raw["split"] |= {"validation_classes": 1, "folds": 2}
    raw["loss"]["proxies_per_class"] = 2
    raw["evaluate"]["nmi"] = False
    raw["tracking"]["enabled"] = False
    train = {"epochs": 1, "steps_per_epoch": None, "batch": 4, "images_per_class": 2, "transform": "small"}
    raw["recipe"][dataset] = {"train": train | recipe}
    return raw
