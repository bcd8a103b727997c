"""What packing costs, and what is left when it stops."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pfml.datasets.listing import Listing
from pfml.datasets.own import folder_listing
from pfml.datasets.pack import pack
from pfml.images.packed import PackedImages
from pfml.images.threads import ordered
from tests.conftest import ROOT
from tests.datasets.pictures import encoded, listing_of, noise


def with_source() -> dict:
    return {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"}


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
from pfml.datasets.own import folder_listing
from pfml.datasets.listing import Listing
from pfml.datasets.pack import pack

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


MEMORY = """
import io, sys
import pandas as pd
from PIL import Image
from pfml.datasets.listing import Listing
from pfml.datasets.pack import pack

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
