"""Lay out the images of the studies on partial data under data/manual/, where their presets look for them:

    cars98      box crops of the 98 training classes of Cars-196 (49 train, 49 test; not the usual split)
    cub127      box crops of 127 classes of CUB-200-2011 (85 train, 42 test)
    omniglot    Omniglot, complete, as omniglot_background.zip and omniglot_evaluation.zip. The pictures are those of
                the official archives, the files are not.

The folder of PFML_REAL_DATA holds the sources (data/cars98/cars98.zip, data/cub200_bbox227/*.zip,
data/omniglot/omniglot_105.npz). No image is part of this repository.

    PFML_REAL_DATA=<folder> python benchmarks/partial_data.py [cars98] [cub127] [omniglot]
"""

import csv
import io
import os
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
MANUAL = ROOT / "data/manual"
STAMP = (2020, 1, 1, 0, 0, 0)  # of every entry, so that an archive has the same bytes each time


def crops(archives: list[Path], split: str, folder: Path) -> int:
    """Unpack archives of crops and write labels.csv (path, label, split), classes in their official order.

    Args:
        archives: each with labels.csv: file, class_id, class_name and `split`, the column of the half.

    Returns:
        the number of images.
    """
    rows = []
    for archive in archives:
        with zipfile.ZipFile(archive) as packed:
            listed = list(csv.DictReader(io.TextIOWrapper(packed.open("labels.csv"), encoding="utf-8")))
            for row in listed:
                target = folder / row["file"]
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(packed.read(row["file"]))
                # A csv's classes are numbered in the order of their names.
                name = f"{int(row['class_id']):03d} {row['class_name']}"
                rows.append((row["file"], name, row.get(split, "train")))
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([("path", "label", "split"), *sorted(rows)])
    return len(rows)


def omniglot(source: Path, folder: Path) -> int:
    """The two archives of Omniglot from its arrays: <set>/<alphabet>/<character>/<number>_<drawer>.png, of one bit,
    black on white as in the official files. Returns the number of images.
    """
    arrays = np.load(source)
    side = int(arrays["shape"][-1])
    ink = np.unpackbits(arrays["images"], axis=1)[:, : side * side].reshape(-1, side, side)
    folder.mkdir(parents=True, exist_ok=True)
    drawn = Counter()
    for half, is_background in (("images_background", True), ("images_evaluation", False)):
        with zipfile.ZipFile(folder / f"{half.replace('images', 'omniglot')}.zip", "w") as archive:
            for pixels, label, drawer in zip(ink, arrays["label"], arrays["drawer"]):
                if bool(arrays["class_is_background"][label]) != is_background:
                    continue
                _, alphabet, character = str(arrays["class_names"][label]).split("/")
                picture = io.BytesIO()
                Image.fromarray(pixels == 0).save(picture, format="PNG")
                name = f"{half}/{alphabet}/{character}/{label:04d}_{drawer:02d}.png"
                archive.writestr(zipfile.ZipInfo(name, STAMP), picture.getvalue())
                drawn[half] += 1
    return sum(drawn.values())


def main(names: list[str]) -> None:
    if not os.environ.get("PFML_REAL_DATA"):
        sys.exit("PFML_REAL_DATA: expected the folder with data/cars98 and the others, found nothing")
    real = Path(os.environ["PFML_REAL_DATA"], "data").resolve()
    birds = sorted((real / "cub200_bbox227").glob("*.zip"))
    made = {
        "cars98": lambda: crops([real / "cars98/cars98.zip"], "split", MANUAL / "cars98"),
        "cub127": lambda: crops(birds, "dml_split", MANUAL / "cub127"),
        "omniglot": lambda: omniglot(real / "omniglot/omniglot_105.npz", MANUAL),
    }
    for name in names or made:
        if name not in made:
            sys.exit(f"expected {', '.join(made)}, found {name!r}")
        print(f"{name}: {made[name]()} images in {MANUAL.relative_to(ROOT)}/", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
