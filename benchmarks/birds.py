"""Check that the pipeline, the recipe and the losses work on photographs: fine-tune an ImageNet MobileNetV2 on birds,
with PFML and Proxy Anchor, clean and with 20 % label noise. Takes minutes to an hour on a CPU; writes reports/birds.md.

The folder of PFML_REAL_DATA contains box crops of 100 of the 200 classes of CUB-200-2011, 58 to train on and 42 unseen.
These are not the benchmark's images, and results are NOT comparable with published numbers.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
REAL = os.environ.get("PFML_REAL_DATA") and Path(os.environ["PFML_REAL_DATA"]).resolve()
METHODS = ("pfml", "proxy_anchor")
NOISES = (0.0, 0.2)

TEXT = """# A check on photographs

**Not comparable with published numbers**: other images (box crops of 100 of CUB-200-2011's 200 classes, 58 to train on
and 42 unseen), a smaller network (ImageNet MobileNetV2, 128 dimensions), one seed, and a training so short that the
order of methods says nothing. It shows that the pipeline runs on photographs and a pretrained network, no more.

Epochs: {epochs}, of {steps} steps of 100 crops of 224 pixels, Adam at {lr:g}, proxies at 0.01, batch statistics frozen;
losses as in params.yaml. Written by `benchmarks/birds.py` from the folder named by PFML_REAL_DATA, of which no image is
here.

| | label noise | R@1 after each epoch | MAP@R at the end |
| :--- | ---: | :--- | ---: |
{rows}
"""


def settings(options) -> dict:
    """params.yaml of the study: the recipe of CUB-200-2011 with a smaller network and few epochs."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["study"] = "birds"
    params["grid"] |= {"dataset": ["birds"], "field": ["pfml"], "baseline": ["proxy_anchor"], "noise": list(NOISES)}
    params["ablation"]["points"] = []
    params["dataset"]["birds"] = {
        "kind": "folder", "path": "birds", "train_classes": 58, "pack": "fast", "short_side": 256,
    }  # fmt: skip
    network = {
        "backbone": "mobilenetv2_100", "embedding_dim": 128, "backbone_options": {"pad_type": "same"},
        "weights": str(Path(REAL, "weights/mobilenetv2_100_imagenet/mobilenetv2_100_tf_in1k_int8deq.pth")),
    }  # fmt: skip
    recipe = params["recipe"]["cub200"]["train"] | {
        "epochs": options.epochs, "frozen_epochs": 0, "eval_every": 1, "transform": "vit", "lr": options.lr,
        "threads": options.threads, "warmup": 0.1,
    }  # fmt: skip
    params["recipe"]["birds"] = {"model": network, "train": recipe}
    params["tracking"]["enabled"] = False
    params["evaluate"]["nmi"] = False
    return params


def stage(folder: Path, name: str, *arguments: str) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "DVC_ROOT": str(folder)}
    subprocess.run([sys.executable, ROOT / f"stages/{name}.py", *arguments], cwd=folder, env=environment, check=True)


def untrained(folder: Path) -> dict:
    """Measures of the pretrained network with a new head, before training."""
    import torch

    from pfml.retrieval import retrieval_metrics
    from pfml.settings.load import load_params
    from pfml.settings.runs import find_run, grid_runs
    from pfml.training.batches.run_data import load_run_data
    from pfml.training.measure import embed
    from pfml.training.networks.model import build_model

    run = find_run(grid_runs(load_params()), "birds-pfml-0.0-0")
    torch.manual_seed(run.seed)
    test = load_run_data(run).test
    return retrieval_metrics(embed(build_model(**run.model), test.pictures), test.labels)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if not REAL:
        sys.exit("PFML_REAL_DATA names no folder with real images")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(Path(REAL, "data/cub200_bbox227/cub200_bbox227_100cls.zip")) as archive:
            archive.extractall(folder / "birds", [n for n in archive.namelist() if n.endswith(".jpg")])
        (folder / "params.yaml").write_text(yaml.safe_dump(settings(options), sort_keys=False))
        stage(folder, "plan")
        stage(folder, "fetch", "birds")
        stage(folder, "split", "birds")
        results = {}
        for noise in NOISES:
            stage(folder, "noise", f"birds-{noise}-0")
        os.chdir(folder)
        before = untrained(folder)
        for noise in NOISES:
            for method in METHODS:
                started = time.perf_counter()
                stage(folder, "train", f"birds-{method}-{noise}-0")
                stage(folder, "evaluate", f"birds-{method}-{noise}-0")
                result = json.loads((folder / f"reports/runs/birds/birds-{method}-{noise}-0.json").read_text())
                with Path(f"reports/runs/birds/birds-{method}-{noise}-0.csv").open() as file:
                    result["recalls"] = [100 * float(row["recall@1"]) for row in csv.DictReader(file)]
                results[method, noise] = result
                print(f"{method} {noise}: {time.perf_counter() - started:.0f} s", flush=True)
        os.chdir(ROOT)
    write_report(before, results, options)


def write_report(before: dict, results: dict, options) -> None:
    lines = [f"| new head, untrained | – | {100 * before['recall@1']:.1f} | {100 * before['map@r']:.1f} |"]
    for (method, noise), result in results.items():
        recalls = ", ".join(f"{recall:.1f}" for recall in result["recalls"])
        lines.append(f"| {method} | {100 * noise:.0f} % | {recalls} | {100 * result['map@r']:.1f} |")
    steps = 3428 // settings(options)["train"]["batch"]
    text = TEXT.format(epochs=options.epochs, steps=steps, lr=options.lr, rows="\n".join(lines))
    (ROOT / "reports/birds.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
