"""Packs made for real: what lies in them, what they cost, what is left when packing stops."""

import hashlib
import io
import json
import multiprocessing
import operator
import os
import pickle
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pfml.data.images import content_digest, decode
from pfml.data.listing import Listing
from pfml.data.ordered import ordered
from pfml.data.own import csv_listing, folder_listing
from pfml.data.pack import checked_table, pack
from pfml.data.packed import PackedImages, digests, open_images, read_items

REAL = os.environ.get("PFML_REAL_DATA")
needs_real = pytest.mark.skipif(not REAL, reason="PFML_REAL_DATA is not set: no real images to read")


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def listing_of(files: dict[str, bytes], class_of=lambda name: name[0], **columns) -> Listing:
    """Files in memory; the class is the first letter of the name."""
    classes = sorted({class_of(name) for name in files})
    table = pd.DataFrame({"name": list(files)})
    table["class_id"] = [classes.index(class_of(name)) for name in files]
    table["class_name"] = [class_of(name) for name in files]
    return Listing(table.assign(**columns), files.__getitem__)


@pytest.fixture
def files() -> dict[str, bytes]:
    """Twelve files of many kinds and shapes in two classes."""
    kinds = [("PNG", "RGB"), ("JPEG", "RGB"), ("JPEG", "L"), ("JPEG", "CMYK"), ("GIF", "P"), ("WEBP", "RGBA")]
    return {
        f"{'ab'[i % 2]}{i}": encoded(noise(30 + 7 * i, 60 - 3 * i, i).convert(kinds[i % 6][1]), kinds[i % 6][0])
        for i in range(12)
    }


def test_exact_keeps_every_byte(files, tmp_path):
    meta = pack(listing_of(files), tmp_path / "p", "mine", source="me", licence="mine")
    images = PackedImages(tmp_path / "p")
    assert sorted(os.listdir(tmp_path / "p")) == ["images.bin", "index.npy", "items.csv", "meta.json"]
    assert os.listdir(tmp_path) == ["p"]
    assert (tmp_path / "p/images.bin").read_bytes() == b"".join(files.values())
    for i, (name, data) in enumerate(files.items()):
        assert images.bytes(i) == data
        assert np.array_equal(images[i], np.asarray(decode(data, name)))
    assert len(images) == 12 and len(list(images)) == 12 and np.array_equal(images[-1], images[11])
    assert meta == json.loads((tmp_path / "p/meta.json").read_text()) == images.meta
    assert meta == {
        "name": "mine", "source": "me", "licence": "mine", "mode": "exact", "short_side": None, "images": 12,
        "classes": 2, "digest": meta["digest"], "bytes": sum(map(len, files.values())), "skipped": {},
    }  # fmt: skip


def test_fast_holds_what_torchvision_resizes_to(files, tmp_path):
    resize = pytest.importorskip("torchvision.transforms.functional").resize
    pack(listing_of(files), tmp_path / "p", "mine", mode="fast", short_side=32)
    images = PackedImages(tmp_path / "p")
    for i, (name, data) in enumerate(files.items()):
        expected = np.asarray(resize(decode(data, name), 32))  # a PIL image: bilinear, antialiased
        assert min(images[i].shape[:2]) == 32
        assert np.array_equal(images[i], expected)


def test_fast_reads_without_a_copy(files, tmp_path):
    pack(listing_of(files), tmp_path / "p", "mine", mode="fast", short_side=32)
    images = PackedImages(tmp_path / "p")
    assert np.shares_memory(images[3], images[3]) and not images[3].flags.writeable
    with pytest.raises(ValueError, match="mode exact only, this one is fast"):
        images.bytes(0)


def test_items_say_what_each_image_is(files, tmp_path):
    for mode in ("exact", "fast"):
        pack(listing_of(files, split="train"), tmp_path / mode, "mine", mode=mode, short_side=8)
    items = read_items(tmp_path / "exact")
    assert list(items) == ["item", "class_id", "class_name", "name", "split", "width", "height", "sha256"]
    assert items["item"].tolist() == list(range(12)) and items["name"].tolist() == list(files)
    pictures = [decode(data, name) for name, data in files.items()]
    assert list(zip(items["width"], items["height"])) == [picture.size for picture in pictures]
    assert items["sha256"].tolist() == [content_digest(picture) for picture in pictures]
    # Both modes name the same content, and the digest of the whole is over classes and contents, in order.
    assert items.equals(read_items(tmp_path / "fast"))
    lines = "".join(f"{c} {s}\n" for c, s in zip(items["class_id"], items["sha256"]))
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert {PackedImages(tmp_path / mode).meta["digest"] for mode in ("exact", "fast")} == {expected}
    assert list(digests(PackedImages(tmp_path / "exact"))) == items["sha256"].tolist()


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_packing_again_gives_the_same_bytes(files, tmp_path, mode):
    for threads in (1, 5):
        pack(listing_of(files), tmp_path / str(threads), "mine", mode=mode, threads=threads)
    for file in (tmp_path / "1").iterdir():
        assert file.read_bytes() == (tmp_path / "5" / file.name).read_bytes()


@pytest.mark.parametrize("awkward", [["007", "1.0"], ["NA", "null", "a,b", 'say "x"', "two\nlines", "ä", ""]])
def test_names_survive_the_table(tmp_path, awkward):
    listing = Listing(
        pd.DataFrame({"name": [f"{c}/0" for c in awkward], "class_id": range(len(awkward)), "class_name": awkward}),
        lambda name: encoded(noise(4, 4)),
    )
    pack(listing, tmp_path / "p", "mine")
    items = read_items(tmp_path / "p")
    assert items["class_name"].tolist() == awkward and items["name"].tolist() == [f"{c}/0" for c in awkward]


def unreadable(files) -> Listing:
    """Four of sixteen: cut, a text, empty, and gone."""
    whole = list(files.values())[1]
    broken = {"a90": whole[: len(whole) // 2], "a91": b"a text", "b92": b""}
    given = {**files, **broken, "b93": None}

    def read(name):
        if given[name] is None:
            raise FileNotFoundError(2, "No such file or directory", f"/somewhere/{name}")
        return given[name]

    table = listing_of(given).table.sort_values("class_id", kind="stable")
    return Listing(table, read)


def test_unreadable_images_are_all_named(files, tmp_path):
    with pytest.raises(ValueError, match=r"^4 of 16 images cannot be read; .*skip_unreadable") as caught:
        pack(unreadable(files), tmp_path / "p", "mine")
    reasons = str(caught.value).split("\n")[1:]
    assert [reason.split(":")[0].strip() for reason in reasons] == ["a90", "a91", "b92", "b93"]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_unreadable_images_are_skipped_on_request(files, tmp_path, mode):
    meta = pack(unreadable(files), tmp_path / "p", "mine", mode=mode, skip_unreadable=True)
    assert (meta["images"], list(meta["skipped"])) == (12, ["a90", "a91", "b92", "b93"])
    assert meta["skipped"]["b93"] == "b93: No such file or directory"
    items, images = read_items(tmp_path / "p"), PackedImages(tmp_path / "p")
    assert items["item"].tolist() == list(range(12)) and len(images) == 12
    assert items["name"].tolist() == sorted(files, key=lambda name: name[0])
    if mode == "exact":
        assert [images.bytes(i) for i in range(12)] == [files[name] for name in items["name"]]


def test_a_class_without_a_readable_image_is_an_error(files, tmp_path):
    with pytest.raises(ValueError, match=r"1 classes without a readable image: \['z'\]"):
        pack(listing_of({**files, "z1": b"text"}), tmp_path / "p", "mine", skip_unreadable=True)


def test_a_strip_that_would_become_huge_is_unreadable_in_fast(tmp_path):
    listing = listing_of({"a": encoded(Image.new("L", (30_000, 1)))})
    pack(listing, tmp_path / "exact", "mine")
    with pytest.raises(ValueError, match=r"a: 7680000 x 256 pixels, expected at most"):
        pack(listing, tmp_path / "fast", "mine", mode="fast")


@pytest.mark.parametrize(
    "change, what",
    [
        (lambda t: t.drop(columns="class_id"), r"missing columns: \['class_id'\]"),
        (lambda t: t.iloc[:0], "found 0"),
        (lambda t: t.assign(name="a0"), "each name once, found a0"),
        (lambda t: t.assign(class_id=t["class_id"] * 2), "without gaps"),
        (lambda t: t.assign(class_id=t["class_id"] / 2), "without gaps"),
        (lambda t: t.assign(class_name="a"), "one class_name per class_id"),
        (lambda t: t.assign(class_name=t["name"]), "one class_name per class_id"),
        (lambda t: t.assign(split="val"), r"split: expected train or test, found \['val'\]"),
    ],
)
def test_a_table_that_is_no_listing_is_refused(files, change, what):
    with pytest.raises(ValueError, match=what):
        checked_table(change(listing_of(files).table))


def test_wrong_modes_and_targets_are_refused(files, tmp_path):
    for wrong in ({"mode": "slow"}, {"mode": "fast", "short_side": 0}):
        with pytest.raises(ValueError, match="expected mode exact or fast"):
            pack(listing_of(files), tmp_path / "p", "mine", **wrong)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis/chapter1").write_text("years of work")
    with pytest.raises(FileExistsError, match="found something else"):
        pack(listing_of(files), tmp_path / "thesis", "mine")
    assert (tmp_path / "thesis/chapter1").read_text() == "years of work"


def test_a_pack_replaces_a_pack(files, tmp_path):
    pack(listing_of(files), tmp_path / "p", "old")
    pack(listing_of(files), tmp_path / "p", "new", mode="fast", short_side=8)
    assert PackedImages(tmp_path / "p").meta["name"] == "new" and not (tmp_path / "p/images.bin").exists()
    assert os.listdir(tmp_path) == ["p"]


def test_an_exception_leaves_nothing_new(files, tmp_path):
    pack(listing_of(files), tmp_path / "p", "old")
    before = {file.name: file.read_bytes() for file in (tmp_path / "p").iterdir()}

    def read(name):
        if name == "b7":
            raise KeyboardInterrupt
        return files[name]

    for target in ("p", "q"):
        with pytest.raises(KeyboardInterrupt):
            pack(Listing(listing_of(files).table, read), tmp_path / target, "new")
    assert {file.name: file.read_bytes() for file in (tmp_path / "p").iterdir()} == before
    assert os.listdir(tmp_path) == ["p"]


KILLED = """
import sys, time
from pathlib import Path
from pfml.data.own import folder_listing
from pfml.data.listing import Listing
from pfml.data.pack import pack

root, calls = Path(sys.argv[1]), []
listing = folder_listing(root / "images")
def read(name):
    calls.append(name)
    if len(calls) > 30:
        (root / "reached").touch()
        time.sleep(600)
    return listing.read(name)
pack(Listing(listing.table, read), root / "out" / "p", "mine", threads=2)
"""


def test_a_kill_leaves_no_half_pack_and_the_next_run_cleans_up(tmp_path):
    for i in range(40):
        (tmp_path / f"images/{i % 2}").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"images/{i % 2}/{i}.png").write_bytes(encoded(noise(20, 20, i)))
    child = subprocess.Popen([sys.executable, "-c", KILLED, str(tmp_path)], env=with_source())
    try:
        while not (tmp_path / "reached").exists():
            assert child.poll() is None
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (tmp_path / "out/p").exists()
    assert os.listdir(tmp_path / "out") == [".p.unfinished"]
    pack(folder_listing(tmp_path / "images"), tmp_path / "out/p", "mine")
    assert os.listdir(tmp_path / "out") == ["p"] and len(PackedImages(tmp_path / "out/p")) == 40


def with_source() -> dict:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"}


MEMORY = """
import io, sys
import pandas as pd
from PIL import Image
from pfml.data.listing import Listing
from pfml.data.pack import pack

def peak():  # KiB of this program since it started; ru_maxrss would count the parent's
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])

buffer = io.BytesIO()
Image.new("L", (8, 8)).save(buffer, "PNG")
def read(name):  # 64 KiB that are quickly decoded: what follows a PNG's end is ignored
    return buffer.getvalue() + name.encode() * (65536 // len(name))

for n in (200, 4000):
    table = pd.DataFrame({"name": [f"image {i:06d}" for i in range(n)], "class_id": 0, "class_name": "a"})
    pack(Listing(table, read), f"{sys.argv[1]}/{n}", "mine", mode=sys.argv[2], short_side=128, threads=4)
    print(peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_memory_does_not_grow_with_the_images(tmp_path, mode):
    child = subprocess.run(
        [sys.executable, "-c", MEMORY, str(tmp_path), mode],
        env=with_source(),
        capture_output=True,
        text=True,
        check=True,
    )
    few, many = map(int, child.stdout.split())
    size = PackedImages(tmp_path / "4000").meta["bytes"]
    assert size > 180e6
    assert (many - few) * 1024 < 15e6  # the table's lines; kept images would be twelve times as much


def test_order_is_kept_and_few_inputs_are_alive():
    drawn, done = [], []

    def inputs():
        for i in range(100):
            drawn.append(i)
            assert len(drawn) - len(done) <= 6  # two for each of three threads
            yield i

    def slow(i):
        time.sleep(0.003 if i % 3 == 0 else 0)
        return i * i

    for result in ordered(slow, inputs(), threads=3):
        done.append(result)
    assert done == [i * i for i in range(100)]


class Summed(torch.utils.data.Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return i, int(self.images[i].astype(np.int64).sum()), os.getpid()


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_worker_processes_read_at_random(files, tmp_path, mode):
    pack(listing_of(files), tmp_path / "p", "mine", mode=mode, short_side=24)
    images = PackedImages(tmp_path / "p")
    expected = {i: int(images[i].astype(np.int64).sum()) for i in range(12)}  # touched before the fork
    loader = torch.utils.data.DataLoader(Summed(images), batch_size=2, shuffle=True, num_workers=2)
    found, workers = {}, set()
    for items, sums, pids in loader:
        found |= dict(zip(items.tolist(), sums.tolist()))
        workers |= set(pids.tolist())
    assert found == expected and len(workers) == 2 and os.getpid() not in workers


@pytest.mark.parametrize("mode", ["exact", "fast"])
def test_a_fresh_process_reads_the_same(files, tmp_path, mode, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pack(listing_of(files), Path("p"), "mine", mode=mode, short_side=24)
    images = PackedImages("p")
    monkeypatch.chdir("/")  # the working folder no longer matters
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert np.array_equal(pool.apply(operator.getitem, (images, 7)), images[7])


def test_pickles_are_small(files, tmp_path):
    pack(listing_of(files), tmp_path / "p", "mine", mode="fast")
    state = pickle.dumps(PackedImages(tmp_path / "p"))
    assert len(state) < 1000 and np.array_equal(pickle.loads(state)[5], PackedImages(tmp_path / "p")[5])


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x", lambda data: b""])
def test_a_damaged_pack_is_named(files, tmp_path, change):
    pack(listing_of(files), tmp_path / "p", "mine")
    path = tmp_path / "p/images.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=r"p: images\.bin: expected 12 images in \d+ bytes, found 12 in \d+"):
        PackedImages(tmp_path / "p")


def test_a_folder_that_is_no_pack_is_named(files, tmp_path):
    for broken in (None, "{", "{}", '{"mode": "slow"}', '{"mode": "exact"}'):
        if broken:
            (tmp_path / "meta.json").write_text(broken)
        with pytest.raises(ValueError, match="expected a pack"):
            PackedImages(tmp_path)
    pack(listing_of(files), tmp_path / "p", "mine")
    with pytest.raises(IndexError):
        PackedImages(tmp_path / "p")[12]


def test_one_way_in_for_arrays_and_packs(files, tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (5, 40, 60, 3), dtype=np.uint8)
    (tmp_path / "a").mkdir()
    np.save(tmp_path / "a/images.npy", array)
    pack(listing_of(files), tmp_path / "p", "mine")
    assert isinstance(open_images(tmp_path / "p"), PackedImages)
    images = open_images(tmp_path / "a")
    again = pickle.loads(pickle.dumps(images))
    assert len(images) == len(again) == 5 and len(pickle.dumps(images)) < 1000
    assert all(np.array_equal(images[i], array[i]) and np.array_equal(again[i], array[i]) for i in range(5))
    assert np.array_equal(images[np.array([3, 1])], array[[3, 1]])
    assert list(digests(images)) == [content_digest(image) for image in array]
    with pytest.raises(ValueError, match="expected a pack"):
        open_images(tmp_path / "gone")


@needs_real
def test_real_photographs_from_an_archive(tmp_path):
    """300 crops of CUB-200-2011, read from their zip, in both modes."""
    archive = zipfile.ZipFile(Path(REAL) / "data/cub200_bbox227/cub200_bbox227_100cls.zip")
    labels = pd.read_csv(archive.open("labels.csv"))
    labels = labels.iloc[:: len(labels) // 300]
    table = pd.DataFrame({"name": labels["file"], "class_name": labels["class_name"], "split": labels["dml_split"]})
    table["class_id"] = labels["class_id"].rank(method="dense").astype(int) - 1
    listing = Listing(table, archive.read)
    exact = pack(listing, tmp_path / "exact", "cub")
    fast = pack(listing, tmp_path / "fast", "cub", mode="fast", short_side=64)
    assert exact["images"] == fast["images"] == len(table) and exact["digest"] == fast["digest"]
    originals, small = PackedImages(tmp_path / "exact"), PackedImages(tmp_path / "fast")
    for i in range(0, len(table), 17):
        assert originals.bytes(i) == archive.read(table["name"].iloc[i])
        assert originals[i].shape == (227, 227, 3) and small[i].shape == (64, 64, 3)
    assert len(set(read_items(tmp_path / "fast")["sha256"])) == len(table)


@needs_real
def test_real_characters_through_a_folder_and_a_csv(tmp_path):
    """The first 40 characters of Omniglot as one-bit PNGs: both routes give the same pack."""
    source = np.load(Path(REAL) / "data/omniglot/omniglot_105.npz")
    rows = np.flatnonzero(source["label"] < 40)
    ink = np.unpackbits(source["images"][rows], axis=1)[:, : 105 * 105].reshape(-1, 105, 105)
    lines = ["path,label"]
    for bits, label, drawer in zip(ink, source["label"][rows], source["drawer"][rows]):
        path = tmp_path / f"omniglot/{label}/{drawer}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((1 - bits) * 255).convert("1").save(path)
        lines.append(f"omniglot/{label}/{drawer}.png,{label}")
    (tmp_path / "list.csv").write_text("\n".join(lines) + "\n")
    by_folder = pack(folder_listing(tmp_path / "omniglot"), tmp_path / "a", "omniglot")
    by_csv = pack(csv_listing(tmp_path / "list.csv"), tmp_path / "b", "omniglot", mode="fast", short_side=105)
    assert (by_folder["images"], by_folder["classes"]) == (800, 40)
    assert by_folder["digest"] == by_csv["digest"]
    images, stored = PackedImages(tmp_path / "a"), PackedImages(tmp_path / "b")
    for i in range(0, 800, 31):
        assert np.array_equal(images[i], np.repeat((1 - ink[i])[:, :, None] * 255, 3, 2))
        assert np.array_equal(images[i], stored[i])
