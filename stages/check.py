"""check: params.yaml is usable. Comes first, so that a bad value stops the pipeline before DVC clears any output."""

from pathlib import Path

from pfml.config import check_backbone, run_stage


def main(params):
    check_backbone(params)
    Path("data").mkdir(exist_ok=True)
    Path("data/params-checked").write_text("usable\n")


run_stage(main)
