"""In-shop Clothes: the official layout, made by the test, from data/manual to a run measured by its own protocol."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pfml.datasets import catalogue, layouts
from pfml.datasets.archives import open_archive
from pfml.datasets.sources import DATASETS, check_counts
from pfml.evaluation.folds import evaluate_folds
from pfml.evaluation.trained import read_trained
from pfml.figures.gallery import gallery_view
from pfml.settings import schema
from pfml.settings.plan import read_run
from pfml.use.neighbours import neighbours_picture
from tests.datasets import official
from tests.datasets.stages import one_epoch

ITEMS, EACH = 12, 5  # of the runs: 6 items train; each of the others has 2 queries and 3 images in the gallery
NAMES = ("img.zip", "list_eval_partition.txt")


@pytest.fixture
def parsed(tmp_path):
    """parsed(rows, list's bytes, zip's files) is the listing; by default of the list and the images of the rows."""

    def _parsed(rows=(), text=None, images=None):
        path = official.write_zip(tmp_path / "img.zip", official.in_shop_images(rows) if images is None else images)
        (tmp_path / "list_eval_partition.txt").write_bytes(official.in_shop_list(rows) if text is None else text)
        archive = open_archive(path, tmp_path / "work", max_files=1000, max_bytes=1 << 26)
        return layouts.in_shop(archive, tmp_path / "list_eval_partition.txt")

    return _parsed


def test_the_layout(parsed):
    rows = official.in_shop_rows()
    table = (listing := parsed(rows)).table
    assert table["name"].tolist() == [path for path, _, _ in rows]
    assert table["role"].tolist() == [status for _, _, status in rows]
    assert table["class_name"].tolist() == [item for _, item, _ in rows]
    assert (table["split"] == np.where(table["role"] == "train", "train", "test")).all()
    items = table.drop_duplicates("class_id").sort_values("class_id")["class_name"].tolist()
    assert items == [f"id_{k:08d}" for k in (2, 4, 6, 1, 3, 5)]  # training items first, each half by its numbers
    for name, class_id in zip(table["name"], table["class_id"]):
        with Image.open(io.BytesIO(listing.read(name))) as image:
            colour = np.asarray(image.convert("RGB"))[-1, -1, :2].astype(int)
        assert abs(colour - [class_id * 37 % 256, class_id * 91 % 256]).max() < 12, name


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: b"", r"partition\.txt:1: expected the number of images, from 1 on, found ''"),
        (lambda t: t.partition(b"\n")[2], r"partition\.txt:1: expected the number of images,.*'image_name item_id"),
        (lambda t: t.replace(b"24\n", b"25\n", 1), r"partition\.txt: says 25 images in line 1, lists 24"),
        (lambda t: t[: t.rindex(b"img/")], "says 24 images in line 1, lists 23"),
        (lambda t: b"24\n", r"partition\.txt:2: expected the header 'image_name item_id evaluation_status', found ''"),
        # The list of another benchmark of DeepFashion, which has the same name.
        (
            lambda t: t.replace(b"item_id evaluation", b"evaluation"),
            r":2: expected the header .* found 'image_name eval",
        ),
        (
            lambda t: t.replace(b"query ", b"val   ", 1),
            r"partition\.txt:3: expected image_name, item_id and train, query",
        ),
        (lambda t: t.replace(b" id_00000001 ", b" ", 1), r"partition\.txt:3: expected image_name, item_id and"),
        (lambda t: t.replace(b" id_00000002 ", b" id_00000001 ", 1), ":7: item id_00000001 is in both halves"),
        (lambda t: t.replace(b"/01_1_front", b"/02_2_front", 1), r":4: image img/.*/02_2_front\.jpg a second time"),
        (lambda t: t.replace(b"/01_1_front", b"/09_1_front", 1), r":3: image img/.*/09_1_front\.jpg is listed but not"),
        (lambda t: b"\xff" + t, r"partition\.txt: not a text file"),
    ],
)
def test_a_list_that_is_not_as_it_was(parsed, change, message):
    rows = official.in_shop_rows()
    with pytest.raises(ValueError, match=message) as error:
        parsed(rows, change(official.in_shop_list(rows)))
    assert "\n" not in str(error.value)


def test_the_archive_of_high_resolution_is_refused(parsed):
    rows = official.in_shop_rows()
    high = {name.replace("img/", "img_highres/", 1): data for name, data in official.in_shop_images(rows).items()}
    with pytest.raises(ValueError, match=r":3: image img/.* is listed but not in .*img\.zip"):
        parsed(rows, images=high)


def small(items: int = ITEMS, each: int = EACH):
    """The entry of the catalogue with the counts of so many items."""
    half, queries = items // 2, -(-each // 3)
    images = {"train_images": half * each, "test_images": half * each, "query_images": half * queries}
    return replace(DATASETS["in_shop"], classes=items, train_classes=half, **images)


def test_counts_of_all_parts_are_checked(parsed):
    rows = official.in_shop_rows(ITEMS, EACH)
    check_counts(parsed(rows), small(), "in_shop")
    moved = [(path, item, "gallery" if status == "query" else status) for path, item, status in rows]
    with pytest.raises(ValueError) as error:
        check_counts(parsed(moved), small(), "in_shop")
    assert "found 30 + 30 + 0 + 30 images of 6 + 6 + 0 + 6 classes (training + test + query" in str(error.value)
    assert "expected 30 + 30 + 12 + 18 images of 6 + 6 + 6 + 6 classes" in str(error.value)
    lone = [row for row in rows if row[1] != "id_00000001" or row[2] == "query"]  # an item without a gallery
    with pytest.raises(ValueError, match=r"found 30 \+ 27 \+ 12 \+ 15 images of 6 \+ 6 \+ 6 \+ 5 classes"):
        check_counts(parsed(lone), small(), "in_shop")


@pytest.fixture
def by_hand(monkeypatch):
    """Put the files of a small benchmark into data/manual, and its counts into the catalogue."""
    rows = official.in_shop_rows(ITEMS, EACH)

    def _by_hand(*names: str):
        folder = Path("data/manual")
        folder.mkdir(parents=True, exist_ok=True)
        if "img.zip" in names:
            official.write_zip(folder / "img.zip", official.in_shop_images(rows))
        if "list_eval_partition.txt" in names:
            (folder / "list_eval_partition.txt").write_bytes(official.in_shop_list(rows))

    monkeypatch.setitem(catalogue.CATALOGUE, "in_shop", small())
    monkeypatch.setitem(catalogue.DATASETS, "in_shop", small())
    monkeypatch.setitem(schema.DATASETS, "in_shop", small().train_classes)
    return _by_hand


@pytest.mark.parametrize("there, missing", [((), NAMES[1]), (NAMES[:1], NAMES[1]), (NAMES[1:], NAMES[0])])
def test_without_its_files_it_says_which_to_put_where(raw, write, stages, by_hand, there, missing):
    by_hand(*there)
    write(one_epoch(raw, "in_shop"), Path.cwd())
    code, said = stages("fetch", "in_shop")
    assert code == 1 and "Traceback" not in said
    for words in ("in_shop could not be fetched", "InShopRetrieval.html: not fetched by program", "Img/img.zip"):
        assert words in said
    assert f"save it as {Path.cwd()}/data/manual/{missing} and run the same command again" in said
    assert not Path("data/raw/in_shop").exists()


def brute_force(saved, ks) -> dict[str, float]:
    """From the definition: each query against the gallery alone, nearest first, equal ones in their order."""
    queries, gallery = saved["test_queries"], saved["test_gallery"]
    points = saved["test"].astype(np.float64)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    found = {f"recall@{k}": [] for k in ks} | {"r_precision": [], "map@r": []}
    for query in queries:
        order = sorted(gallery, key=lambda image: (-round(float(points[query] @ points[image]), 12), image))
        hits = [bool(saved["test_labels"][image] == saved["test_labels"][query]) for image in order]
        r = sum(hits)
        for k in ks:
            found[f"recall@{k}"].append(any(hits[:k]))
        found["r_precision"].append(sum(hits[:r]) / r)
        found["map@r"].append(sum(sum(hits[: p + 1]) / (p + 1) for p in range(r) if hits[p]) / r)
    return {name: float(np.mean(values)) for name, values in found.items()}


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_from_data_manual_to_a_measured_run(raw, write, stages, by_hand, mode):
    by_hand(*NAMES)
    one_epoch(raw, "in_shop", epochs=2, eval_every=1)
    raw["dataset"]["in_shop"] |= {"pack": mode, "short_side": 72}
    raw["evaluate"]["recall_at"] = [1, 2, 10]
    write(raw, Path.cwd())
    said = stages.all("in_shop")
    assert "60 images of 12 classes" in said and "errors: none" in said
    assert "query images 12, query classes 6, gallery images 18, gallery classes 6" in said

    split, noise = (pd.read_csv(f"data/{name}.csv") for name in ("split/in_shop", "noise/in_shop-0.2-0"))
    assert list(split) == ["item", "class_id", "class_name", "split", "role", "validation", "sha256", "fold"]
    assert split["role"].tolist() == [status for _, _, status in official.in_shop_rows(ITEMS, EACH)]
    assert (noise["role"] == split["role"]).all() and noise["corrupted"].sum() == round(0.2 * 30)
    assert not noise.loc[noise["role"] != "train", "corrupted"].any()

    run, saved = "in_shop-pfml-0.2-0", dict(np.load("models/grid/in_shop/pfml-0.2-0/embeddings.npz"))
    test = noise[noise["split"] == "test"].reset_index(drop=True)
    assert saved["test_queries"].tolist() == test.index[test["role"] == "query"].tolist()
    assert saved["test_gallery"].tolist() == test.index[test["role"] == "gallery"].tolist()
    result = json.loads(Path(f"reports/runs/stages/{run}.json").read_text())
    expected = brute_force(saved, (1, 2, 10))
    assert {name: result[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    history = pd.read_csv("models/grid/in_shop/pfml-0.2-0/history.csv")
    assert history["recall@1"].iloc[-1] == pytest.approx(expected["recall@1"], abs=1e-6)  # in training the same
    assert history["map@r"].iloc[-1] == pytest.approx(expected["map@r"], abs=1e-6)

    # The pictures of neighbours ask queries and show images of the gallery.
    role = noise.set_index("item")["role"]
    _, asked, (found,), _ = gallery_view([read_run(run)], "in_shop")
    assert set(role[asked]) == {"query"} and set(role[np.ravel(found.neighbours)]) == {"gallery"}
    assert found.recall == pytest.approx(expected["recall@1"]) and read_trained(read_run(run)).sides
    assert neighbours_picture(read_run(run)).height == 6 * 70  # a row for each test item


def test_a_cross_validation_is_measured_in_the_same_way(raw, write, stages, by_hand):
    by_hand(*NAMES)
    one_epoch(raw, "in_shop")
    raw["grid"] |= {"field": [], "noise": [0.0]}
    raw["mlrc"] |= {"field": ["pfml"], "fold": [0, 1]}
    raw["recipe"]["in_shop"]["train"] |= {"hold_out": True}
    write(raw, Path.cwd())
    for stage in ("fetch", "split"):
        assert stages(stage, "in_shop")[0] == 0
    runs = [f"in_shop-pfml-0-fold-{fold}" for fold in (0, 1)]
    for run in runs:
        code, said = stages("train", run)
        assert code == 0, said
    result = evaluate_folds([read_run(run) for run in runs])
    for fold in (0, 1):
        saved = dict(np.load(f"models/folds/in_shop/pfml-0/{fold}/embeddings.npz"))
        expected = brute_force(saved, (1,))
        found = {name: result[f"fold{fold}_{name}"] for name in expected}
        assert found == pytest.approx(expected, abs=1e-6)
    assert 0 <= result["concatenated_recall@1"] <= 1
