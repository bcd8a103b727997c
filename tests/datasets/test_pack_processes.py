"""A pack read from other processes: workers of a loader, fresh ones, pickles."""

import multiprocessing
import operator
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from pfml.datasets.pack import pack
from pfml.images.packed import PackedImages
from tests.datasets.pictures import listing_of


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
