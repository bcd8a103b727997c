"""Feeding on photographs of birds: the same pixels as torchvision from the files, and packs against each other.

Reads the folder named by PFML_REAL_DATA (data/cub200_full_first50/cub200_full_first50_short224.zip in it); skipped
where that is unset. The files are WebP, 224 pixels on their short side.
"""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pfml.datasets.listing import Listing
from pfml.datasets.pack import pack
from pfml.training.batches.pictures import PackedPictures, step_generator
from pfml.training.batches.samplers import epoch_batches
from pfml.training.batches.transforms import TRANSFORMS, flips, random_boxes

FOLDER = os.environ.get("PFML_REAL_DATA")
pytestmark = pytest.mark.skipif(not FOLDER, reason="PFML_REAL_DATA names no folder with real images")
BIRDS, EVERY = 2889, 60


@pytest.fixture(scope="module")
def birds(tmp_path_factory):
    """Every 60th bird: a list of pictures, their labels, and the folder with an exact and a fast pack of them."""
    archive = zipfile.ZipFile(Path(FOLDER) / "data/cub200_full_first50/cub200_full_first50_short224.zip")
    table = pd.read_csv(archive.open("labels.csv")).iloc[::EVERY]
    table = pd.DataFrame({"name": table["file"], "class_name": table["class_name"], "class_id": table["class_id"]})
    table["class_id"] = table["class_id"].rank(method="dense").astype(int) - 1
    listing, root = Listing(table, archive.read), tmp_path_factory.mktemp("birds")
    pack(listing, root / "exact", "birds")
    pack(listing, root / "fast", "birds", mode="fast", short_side=256)
    pictures = [Image.open(io.BytesIO(archive.read(name))).convert("RGB") for name in table["name"]]
    return pictures, torch.tensor(table["class_id"].to_numpy()), root


def test_evaluation_is_torchvisions_to_the_bit_from_either_pack(birds):
    vision = pytest.importorskip("torchvision.transforms")
    pictures, _, root = birds
    transform = TRANSFORMS["proxy_anchor"]
    normalise = vision.Normalize(transform.mean, transform.std)
    eager = vision.Compose([vision.Resize(256), vision.CenterCrop(224), vision.ToTensor(), normalise])
    expected = torch.stack([eager(picture) for picture in pictures])
    for mode in ("exact", "fast"):
        feed = PackedPictures(root / mode, np.arange(len(pictures)), transform)
        assert torch.equal(torch.cat(list(feed.evaluation(20))), expected)


def test_an_epoch_is_torchvisions_with_the_same_boxes_and_goes_on_anywhere(birds):
    vision = pytest.importorskip("torchvision.transforms")
    pictures, labels, root = birds
    transform = TRANSFORMS["vit"]
    feed = PackedPictures(root / "exact", np.arange(len(pictures)), transform)

    def epoch(start):
        batches = epoch_batches(labels, "m_per_class", 12, 6, 2, seed=0, epoch=1, start=start)
        return list(feed.training(batches, 0, 1, start=start))

    whole = epoch(0)
    assert all(torch.equal(a, b) for one, two in zip(whole[4:], epoch(4)) for a, b in zip(one, two))
    for step, (indices, found) in enumerate(whole):
        draw = step_generator(0, 1, step)
        sizes = torch.tensor([pictures[i].size[::-1] for i in indices])
        boxes = random_boxes(*sizes.T, transform, draw)
        for one, i, box, flip in zip(found, indices, boxes, flips(12, 0.5, draw)):
            expected = vision.functional.resized_crop(pictures[i], *box.tolist(), [224, 224])
            expected = vision.functional.to_tensor(vision.functional.hflip(expected) if flip else expected)
            levels = ((one * 0.5 + 0.5) - expected).abs() * 255
            assert levels.max() < 2.01 and (levels > 1.01).float().mean() < 1e-4 and levels.mean() < 0.2


def test_a_fast_pack_trains_on_nearly_the_same_pictures(birds):
    """Both packs draw from the same generator: where the crops fall alike, they look alike."""
    pictures, _, root = birds
    exact, fast = (
        torch.cat([images for _, images in feed.training(torch.arange(len(pictures)).split(16), 0, 0)])
        for mode in ("exact", "fast")
        for feed in [PackedPictures(root / mode, np.arange(len(pictures)), TRANSFORMS["vit"])]
    )
    difference = (exact - fast).abs().mean((1, 2, 3)) * 127.5
    assert difference.median() < 4, "grey levels"
