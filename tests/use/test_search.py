"""A search over a folder of images: real faiss, an index that follows the folder, the command and its page."""

import re
import shutil

import numpy as np
import pytest
import torch

import pfml
from pfml import cli
from pfml.use.index import index_folder, nearest
from tests.use.conftest import NETWORK, RUN, draw
from tests.use.test_embedding import command


@pytest.fixture
def model(birds):
    return pfml.load(birds / NETWORK)


@pytest.fixture
def photos(birds, tmp_path):
    return shutil.copytree(birds / "photos", tmp_path / "photos")


@pytest.fixture
def embedded(model, monkeypatch):
    """The numbers of images that the network embedded, call by call."""
    counts, embed = [], type(model).embed

    def counted(self, images, *more):
        found = embed(self, images, *more)
        counts.append(len(found))
        return found

    monkeypatch.setattr(type(model), "embed", counted)
    return counts


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_nearest_is_the_largest_cosine():
    rng = np.random.default_rng(0)
    points, queries = unit(rng.normal(size=(500, 16))), unit(rng.normal(size=(7, 16)))
    values, places = nearest(points, queries, 4)
    expected = np.argsort(-(queries @ points.T), axis=1)[:, :4]
    np.testing.assert_array_equal(places, expected)
    np.testing.assert_allclose(values, np.take_along_axis(queries @ points.T, expected, 1), atol=1e-6)


def test_the_graph_finds_nearly_all_of_them():
    rng = np.random.default_rng(0)
    points = unit(rng.normal(size=(50, 32))[rng.integers(0, 50, 3000)] + 0.3 * rng.normal(size=(3000, 32)))
    exact, graph = (nearest(points, points[:200], 10, kind)[1] for kind in ("exact", "hnsw"))
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(exact, graph)])
    assert shared > 0.95


def test_a_picture_finds_itself_and_then_its_own_kind(model, photos):
    index = index_folder(model, photos)
    assert len(index.paths) == 60 and index.paths == tuple(sorted(index.paths)) and index.weights == model.digest
    values, places = index.search(model.embed(photos / "bird 3/4.jpg"), 5)
    assert index.paths[places[0, 0]] == "bird 3/4.jpg" and values[0, 0] == pytest.approx(1, abs=1e-5)
    assert {index.paths[place].split("/")[0] for place in places[0]} == {"bird 3"}
    assert index.search(model.embed(photos / "bird 3/4.jpg"), 1000)[0].shape == (1, 60)


def test_the_index_follows_the_folder_and_embeds_what_is_new_alone(model, photos, embedded):
    first = index_folder(model, photos)
    assert embedded == [60]
    same = index_folder(model, photos)
    assert embedded == [60] and same.paths == first.paths
    np.testing.assert_array_equal(same.embeddings, first.embeddings)
    (photos / "bird 0/0.jpg").unlink()
    draw(photos / "new/1.png", 9, 9)
    draw(photos / "bird 1/1.png", 8, 8)  # another picture of this name
    after = index_folder(model, photos)
    assert embedded == [60, 2]
    assert set(after.paths) == set(first.paths) - {"bird 0/0.jpg"} | {"new/1.png"}
    changed, old = after.paths.index("bird 1/1.png"), first.paths.index("bird 1/1.png")
    assert not np.array_equal(after.embeddings[changed], first.embeddings[old])
    (photos / "new/1.png").unlink()  # nothing new, one gone
    assert index_folder(model, photos).paths == tuple(path for path in after.paths if path != "new/1.png")
    assert embedded == [60, 2]


def test_a_stop_loses_the_last_part_alone(model, photos, embedded, monkeypatch):
    monkeypatch.setattr("pfml.use.index.AT_ONCE", 25)
    with pytest.raises(KeyboardInterrupt):
        index_folder(model, photos, stop_at("50 of 60"))
    assert embedded == [25, 25]
    assert len(index_folder(model, photos).paths) == 60 and embedded == [25, 25, 10]


def stop_at(text: str):
    def tell(line: str) -> None:
        if text in line:
            raise KeyboardInterrupt

    return tell


def test_broken_files_are_left_out_and_a_damaged_index_is_made_anew(model, photos):
    (photos / "bird 2/broken.jpg").write_bytes(b"no picture")
    (photos / "bird 2/gone.png").symlink_to(photos / "bird 2/no such file")
    told = []
    index = index_folder(model, photos, told.append)
    assert len(index.paths) == 60 and any("left out" in line and "broken.jpg" in line for line in told)
    store = photos / ".pfml" / f"{model.digest}.npz"
    store.write_bytes(store.read_bytes()[:1000])
    told.clear()
    again = index_folder(model, photos, told.append)
    assert again.paths == index.paths and "damaged" in told[0]


def test_a_folder_that_cannot_be_written_is_searched_all_the_same(model, photos):
    (photos / ".pfml").write_text("a file where the index would be")
    told = []
    assert len(index_folder(model, photos, told.append).paths) == 60 and "cannot be written" in told[0]


def test_another_network_has_an_index_of_its_own(birds, model, photos):
    first = index_folder(model, photos)
    other = pfml.load(birds / NETWORK)
    with torch.no_grad():
        next(other.network.head.parameters()).neg_()
    other.record = other.record | {"weights": "f" * 16}
    second = index_folder(other, photos)
    assert not np.allclose(second.embeddings, first.embeddings)
    assert {path.name for path in (photos / ".pfml").iterdir()} == {f"{model.digest}.npz", "ffffffffffffffff.npz"}
    with pytest.raises(ValueError, match=r"queries: expected \(q, "):
        index_folder(model, photos).search(np.ones((1, 3), np.float32), 1)
    with pytest.raises(ValueError, match="k: expected 1 or more"):
        index_folder(model, photos).search(model.embed(photos / "bird 3/4.jpg"), 0)


def test_the_command_prints_a_table_and_writes_a_page(birds, photos, tmp_path):
    page = tmp_path / "found.html"
    query = "photos/bird 4/3.png"
    done = command(birds, "search", query, "--run", RUN, "--index", str(photos), "-k", "3", "--page", str(page))
    assert done.returncode == 0, done.stderr
    head, *lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert head == ["query", "rank", "similarity", "path"] and [line[1] for line in lines] == ["1", "2", "3"]
    assert lines[0][3] == str(photos / "bird 4/3.png") and float(lines[0][2]) == 1.0
    text = page.read_text()
    assert text.count("data:image/jpeg;base64,") == 4 and not re.search(r'(src|href)="(?!data:)', text)


def test_bad_input_is_one_line(birds, tmp_path, monkeypatch, capsys):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(birds)
    for arguments, expected in (
        (("photos", "--index", str(tmp_path / "empty")), "expected image files"),
        (("photos", "--index", str(tmp_path / "nowhere")), "no such folder"),
        (("nowhere.jpg", "--index", "photos"), "no such file"),
        (("photos/bird 0/0.jpg", "--index", "photos", "-k", "0"), "k: expected 1 or more"),
    ):
        assert cli.main(["search", *arguments, "--run", RUN]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert expected in last and last.startswith("error:")
