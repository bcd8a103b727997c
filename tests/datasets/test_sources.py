"""From an address to a listing, over a real local server; and the table of the real datasets."""

import hashlib
import re
from dataclasses import replace

import pytest

from pfml.datasets import copies, layouts
from pfml.datasets.download import DownloadError, Source
from pfml.datasets.sources import DATASETS, Entry, Form, open_dataset
from tests.datasets import official
from tests.datasets.http_faults import faulty_server

QUICK = {"attempts": 2, "timeout": 5, "sleep": lambda seconds: None}


@pytest.fixture
def server():
    with faulty_server() as server:
        yield server


@pytest.fixture
def served(server, tmp_path):
    """Put content on the server under a name; returns the sources of it, with or without a checksum."""

    def _served(file, content, *mirrors, checked=True):
        md5 = hashlib.md5(content).hexdigest() if checked else ""
        server.files[f"/{file}"] = content
        return tuple(Source(f"{server.url}/{path}", file, md5=md5, bytes=len(content)) for path in (*mirrors, file))

    return _served


def entry(*forms, classes=4, train_classes=2, train_images=6, test_images=6):
    return Entry("birds", forms, classes, train_classes, train_images, test_images, 1 << 20, "none", "nobody")


@pytest.fixture
def cub_content(tmp_path):
    return official.write_tgz(tmp_path / "made.tgz", official.cub_files()).read_bytes()


@pytest.fixture
def cub(served, cub_content):
    files = (served("CUB_200_2011.tgz", cub_content, "moved/CUB.tgz"),)
    return entry(Form("official archive", files, lambda paths, archive: layouts.cub200(archive(paths[0]))))


def test_a_dataset_survives_a_dead_mirror_and_a_dropped_connection(server, cub, tmp_path):
    server.plan["/CUB_200_2011.tgz"] = [{"cut": 500}, {"status": 503}]
    listing = open_dataset("birds", tmp_path / "raw", entry=cub, **QUICK)
    assert len(listing.table) == 12 and listing.read(listing.table["name"][0])[:2] == b"\xff\xd8"
    assert listing.table.attrs == {"form": "official archive", "licence": "none", "train_classes": 2}
    assert server.statuses("/moved/CUB.tgz") == [404] and server.statuses("/CUB_200_2011.tgz") == [200, 503, 206]
    asked = len(server.requests)
    open_dataset("birds", tmp_path / "raw", entry=cub, **QUICK)
    assert len(server.requests) == asked  # everything is there


def test_an_evil_archive_with_the_right_checksum_is_not_opened(served, tmp_path):
    content = official.write_tgz(tmp_path / "evil.tgz", official.cub_files() | {"../../escaped": b"x"}).read_bytes()
    evil = entry(Form("evil", (served("a.tgz", content),), lambda paths, archive: layouts.cub200(archive(paths[0]))))
    with pytest.raises(ValueError, match=r"a\.tgz: '\.\./\.\./escaped'"):
        open_dataset("birds", tmp_path / "raw/birds", entry=evil, **QUICK)
    assert not list(tmp_path.rglob("escaped")) and [p.name for p in (tmp_path / "raw/birds").iterdir()] == ["a.tgz"]


def test_an_archive_that_inflates_to_more_than_the_dataset_is_refused(served, tmp_path):
    content = official.write_tgz(tmp_path / "bomb.tgz", {"x": bytes(100 << 20)}).read_bytes()
    bomb = entry(Form("bomb", (served("a.tgz", content),), lambda paths, archive: archive(paths[0])))
    with pytest.raises(ValueError, match="inflates to more than"):
        open_dataset("birds", tmp_path / "raw", entry=bomb, **QUICK)
    assert [p.name for p in (tmp_path / "raw").iterdir()] == ["a.tgz"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"train_images": 5}, r"found 6 \+ 6 images of 2 \+ 2 classes .*, expected 5 \+ 6 images"),
        ({"classes": 5}, r"expected 6 \+ 6 images of 2 \+ 3 classes"),
        ({"train_classes": 3}, r"found 9 \+ 3 images of 3 \+ 1 classes"),
    ],
)
def test_counts_that_are_not_those_of_the_dataset_are_an_error(cub, tmp_path, change, message):
    with pytest.raises(ValueError, match=message):
        open_dataset("birds", tmp_path / "raw", entry=replace(cub, **change), **QUICK)


@pytest.fixture
def cars(server, served, tmp_path):
    """Two forms: the official archive, of which the server has nothing, and a parquet copy without a checksum."""
    files, annotations = official.cars_files()
    content = official.write_tgz(tmp_path / "made.tgz", files).read_bytes()
    first = (served("cars_annos.mat", annotations), served("car_ims.tgz", content))
    server.files.clear()
    columns = {"image": [official.picture(c, i) for i, c in enumerate([0, 1, 2, 3] * 3)], "label": [0, 1, 2, 3] * 3}
    parquet = official.write_parquet(tmp_path / "made.parquet", columns, official.CARS).read_bytes()
    (tmp_path / "made").mkdir()
    (tmp_path / "made/cars_annos.mat").write_bytes(annotations)
    (tmp_path / "made/car_ims.tgz").write_bytes(content)
    return entry(
        Form("official archive", first, lambda paths, archive: layouts.cars196(archive(paths[1]), paths[0])),
        Form("copy", (served("c.parquet", parquet, checked=False),), lambda paths, _: copies.cars196_parquet(paths)),
    )


def test_where_the_official_form_is_gone_the_copy_takes_its_place(server, cars, tmp_path):
    listing = open_dataset("birds", tmp_path / "raw", tmp_path / "manual", entry=cars, **QUICK)
    assert listing.table.attrs["form"] == "copy" and len(listing.table) == 12
    assert server.statuses("/car_ims.tgz") == []  # no gigabytes for a form of which a file is missing


def test_files_put_there_by_hand_need_no_network(server, cars, tmp_path):
    listing = open_dataset("birds", tmp_path / "raw", tmp_path / "made", entry=cars, **QUICK)
    assert listing.table.attrs["form"] == "official archive" and not server.requests
    assert not (tmp_path / "raw/car_ims.tgz").exists() and listing.read("car_ims/000001.jpg")


def test_what_is_complete_on_disk_is_used_before_any_address(server, cars, tmp_path):
    open_dataset("birds", tmp_path / "raw", entry=cars, **QUICK)
    asked = len(server.requests)
    listing = open_dataset("birds", tmp_path / "raw", entry=cars, **QUICK)
    assert listing.table.attrs["form"] == "copy" and len(server.requests) == asked


def test_a_wrong_file_put_there_by_hand_stops_and_stays(cars, tmp_path):
    path = tmp_path / "made/car_ims.tgz"
    path.write_bytes(b"saved web page")
    with pytest.raises(DownloadError, match=rf"{re.escape(str(path))}: md5 found .*, expected "):
        open_dataset("birds", tmp_path / "raw", tmp_path / "made", entry=cars, **QUICK)
    assert path.read_bytes() == b"saved web page"


def test_when_nothing_works_every_address_and_the_way_by_hand_are_told(server, cars, tmp_path):
    server.files.clear()
    with pytest.raises(DownloadError) as error:
        open_dataset("birds", tmp_path / "raw", tmp_path / "manual", entry=cars, **QUICK)
    addresses = ["/cars_annos.mat: HTTP 404", "/c.parquet: HTTP 404"]
    by_hand = [f"{tmp_path}/manual/cars_annos.mat", f"{tmp_path}/manual/c.parquet"]
    for said in ("birds could not be fetched", "official archive:", "copy:", *addresses, *by_hand):
        assert said in str(error.value)
    assert not list((tmp_path / "raw").iterdir())


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"'cub'; expected cub200, cars196, sop, omniglot"):
        open_dataset("cub", tmp_path)


COUNTS = {"cub200": (5864, 5924, 100, 200), "cars196": (8054, 8131, 98, 196), "sop": (59551, 60502, 11318, 22634),
          "omniglot": (19280, 13180, 964, 1623), "in_shop": (25882, 26830, 3997, 7982)}  # fmt: skip


@pytest.mark.parametrize("name", DATASETS)
def test_the_table_of_real_datasets(name):
    found = DATASETS[name]
    assert found.name == name and found.licence and found.citation
    assert (found.train_images, found.test_images, found.train_classes, found.classes) == COUNTS[name]
    files = [source.file for form in found.forms for mirrors in form.files for source in mirrors[:1]]
    assert len(files) == len(set(files))
    for mirrors in (mirrors for form in found.forms for mirrors in form.files):
        assert len({(s.file, s.md5, s.sha256) for s in mirrors}) == 1  # mirrors have the same file
        for source in mirrors:
            assert source.url.startswith(("https://", "http://")) and "/" not in source.file
            assert re.fullmatch(r"([0-9a-f]{32})?", source.md5) and re.fullmatch(r"([0-9a-f]{64})?", source.sha256)
    by_hand = name == "in_shop"  # no checksum of its files is public
    official_form = [source for mirrors in found.forms[0].files for source in mirrors]
    assert all(bool(source.by_hand) if by_hand else bool(source.md5) for source in official_form)  # it is verified
    assert (found.query_images == 14218) if by_hand else (found.query_images is None)


def test_the_parsers_of_the_table_read_their_forms(tmp_path, served, monkeypatch):
    """Every form of DATASETS, with its own file names and order, over files in its layout."""
    files, annotations = official.cars_files()
    made = {
        "CUB_200_2011.tgz": official.write_tgz(tmp_path / "a", official.cub_files()).read_bytes(),
        "cars_annos.mat": annotations,
        "car_ims.tgz": official.write_tgz(tmp_path / "a", files).read_bytes(),
        "stanford-car-dataset-by-classes-folder.zip": official.write_zip(
            tmp_path / "a", official.cars_folder_files()
        ).read_bytes(),
        "Stanford_Online_Products.zip": official.write_zip(tmp_path / "a", official.sop_files()).read_bytes(),
    }
    rows = official.in_shop_rows()
    made["list_eval_partition.txt"] = official.in_shop_list(rows)
    made["img.zip"] = official.write_zip(tmp_path / "a", official.in_shop_images(rows)).read_bytes()
    for half, root in (("background", "images_background"), ("evaluation", "images_evaluation")):
        content = official.omniglot_files(root, {"Greek": 2})
        made[f"images_{half}.zip"] = official.write_zip(tmp_path / "a", content).read_bytes()
        made[f"omniglot_{half}.zip"] = made[f"images_{half}.zip"]
    for form in DATASETS["cars196"].forms[1], DATASETS["sop"].forms[1]:
        for i, ((source, *_),) in enumerate(zip(form.files)):
            half = "train" if "train" in source.file else "test"
            columns = {"image": [official.picture(i, k) for k in range(4)], "label": [i % 4] * 4,
                       "item_id": [str(i)] * 4, "image_path": [f"{half}/{i}_{k}.JPG" for k in range(4)]}  # fmt: skip
            made[source.file] = official.write_parquet(tmp_path / "a", columns).read_bytes()
    monkeypatch.setattr("pfml.datasets.sources.check_counts", lambda *_: None)
    expected = {"cub200": [12], "cars196": [12, 16, 24], "sop": [10, 32], "omniglot": [8, 8], "in_shop": [24]}
    for name, dataset in DATASETS.items():
        for form, images in zip(dataset.forms, expected[name], strict=True):
            own = tuple(served(mirrors[0].file, made[mirrors[0].file]) for mirrors in form.files)
            table_of = replace(dataset, forms=(replace(form, files=own),), bytes=1 << 20)
            listing = open_dataset(name, tmp_path / name / form.name.split()[0], entry=table_of, **QUICK)
            assert len(listing.table) == images and listing.read(listing.table["name"][images - 1])
            if form is DATASETS["sop"].forms[1]:
                assert (listing.table["name"].str.split("/").str[0] == listing.table["split"]).all()
