"""Crops against torchvision's, pixel by pixel and by their statistics over many draws."""

import numpy as np
import pytest
import torch
from PIL import Image

from pfml.training.batches import crops
from pfml.training.batches.crops import batched_crops, cut, padded, resized_crops
from pfml.training.batches.transforms import TRANSFORMS, flips, random_boxes

vision = pytest.importorskip("torchvision.transforms.v2")

# (height, width) of the image, the box in it, the size to be: down, up, nearly the same, odd, thin and single pixels
CASES = [
    ((300, 400), (10, 20, 250, 301), 224),
    ((300, 401), (0, 0, 300, 401), 64),
    ((37, 53), (3, 4, 31, 17), 224),
    ((225, 223), (1, 0, 223, 223), 224),
    ((224, 224), (0, 0, 224, 224), 224),
    ((50, 60), (5, 5, 1, 1), 33),
    ((50, 60), (49, 59, 1, 1), 1),
    ((50, 60), (5, 5, 1, 40), 32),
    ((50, 60), (0, 59, 50, 1), 31),
    ((900, 1200), (1, 3, 800, 1111), 97),
]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth(height, width, seed=0):
    small = Image.fromarray(noise(height // 8 + 2, width // 8 + 2, seed))
    return np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))


def assert_close(crops, expected):
    """Half a level up here and down there can make two after both passes: for less than one value in 10,000."""
    difference = (crops.int() - expected.int()).abs()
    assert difference.max() <= 2 and (difference > 1).float().mean() < 1e-4 and difference.float().mean() < 0.1


@pytest.mark.parametrize("texture", [noise, smooth])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("way", [resized_crops, batched_crops])
def test_crops_are_torchvisions_within_a_grey_level(way, interpolation, flip, texture):
    mode, functional = vision.InterpolationMode(interpolation), vision.functional
    for (height, width), box, size in CASES:
        image = texture(height, width)
        crop = way([image], torch.tensor([box]), size, torch.tensor([flip]), "cpu", interpolation)
        assert crop.shape == (1, 3, size, size) and crop.dtype == torch.uint8
        tensor = torch.from_numpy(image.copy()).permute(2, 0, 1)
        by_torch = functional.resized_crop(tensor, *box, [size, size], mode, antialias=True)
        by_pillow = functional.resized_crop(Image.fromarray(image), *box, [size, size], mode)
        for expected in (by_torch, functional.pil_to_tensor(by_pillow)):
            assert_close(crop[0], expected.flip(2) if flip else expected)
        if way is resized_crops:  # the same kernel
            assert torch.equal(crop[0], by_torch.flip(2) if flip else by_torch)


def test_a_batch_of_different_sizes_equals_its_images_one_by_one(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    images = [smooth(40 + 13 * i, 170 - 11 * i, i) for i in range(12)]
    sizes = torch.tensor([image.shape[:2] for image in images])
    boxes = random_boxes(*sizes.T, TRANSFORMS["vit"], generator)
    mirrored = flips(12, 0.5, generator)
    single = [resized_crops([image], box[None], 48, flip[None]) for image, box, flip in zip(images, boxes, mirrored)]
    assert torch.equal(resized_crops(images, boxes, 48, mirrored), torch.cat(single))
    batched = batched_crops(images, boxes, 48, mirrored, "cpu")
    assert_close(batched, torch.cat(single))
    # Padding and the number of images turned into floats at a time change nothing but the order of sums.
    monkeypatch.setattr(crops, "BLOCK", 2 * 170 * 170)
    assert_close(batched_crops(images, boxes, 48, mirrored, "cpu"), batched)


def test_what_lies_outside_a_box_does_not_matter():
    image = smooth(60, 80)
    other = image.copy()
    other[:20], other[50:], other[:, :10], other[:, 60:] = 0, 255, 99, 7
    box, flip = torch.tensor([[20, 10, 30, 50]]), torch.tensor([False])
    for way in (resized_crops, batched_crops):
        assert torch.equal(way([image], box, 32, flip, "cpu"), way([other], box, 32, flip, "cpu"))


def test_read_only_images_are_cut_without_a_copy_and_not_written():
    image = smooth(60, 80)
    image.setflags(write=False)
    region = cut([image], torch.tensor([[3, 4, 20, 30]]))[0]
    assert np.shares_memory(region, image) and region.shape == (20, 30, 3)
    block, extents = padded([region, image])
    assert block.shape == (2, 60, 80, 3) and extents.tolist() == [[20, 30], [60, 80]]
    assert np.array_equal(block[0, :20, :30], region) and not block[0, 20:].any() and not block[0, :, 30:].any()


@pytest.mark.parametrize(
    "box", [(0, 0, 0, 5), (0, 0, 5, 0), (-1, 0, 5, 5), (0, -1, 5, 5), (56, 0, 5, 5), (0, 76, 5, 5)]
)
def test_a_box_that_leaves_its_image_is_refused(box):
    for way in (resized_crops, batched_crops):
        with pytest.raises(ValueError, match=r"boxes: expected .* inside an image of \(60, 80\), found"):
            way([smooth(60, 80)], torch.tensor([box]), 32, torch.tensor([False]), "cpu")


@pytest.mark.parametrize("shape", [(48, 64), (90, 40)])
def test_the_batched_path_is_statistically_torchvisions(shape):
    """Mean and variance of every pixel over 3,000 crops of one image, with their standard errors."""
    draws, size, transform = 3000, 16, TRANSFORMS["proxy_anchor"]
    generator, image = torch.Generator().manual_seed(3), smooth(*shape)
    sizes = [torch.full((draws,), extent) for extent in shape]
    boxes, mirrored = random_boxes(*sizes, transform, generator), flips(draws, transform.flip, generator)
    ours = batched_crops([image] * draws, boxes, size, mirrored, "cpu").double()
    torch.manual_seed(4)
    whole = torch.from_numpy(image.copy()).permute(2, 0, 1)
    theirs = vision.Compose([vision.RandomResizedCrop(size, antialias=True), vision.RandomHorizontalFlip()])
    theirs = torch.stack([theirs(whole) for _ in range(draws)]).double()
    for moment in (1, 2):
        a, b = (x if moment == 1 else (x - x.mean(0)) ** 2 for x in (ours, theirs))
        z = (a.mean(0) - b.mean(0)) / ((a.var(0) + b.var(0)) / draws).sqrt()
        # Pixels are not independent: 768 standard normals would stay below 4.5 and have a mean square near 1.
        assert z.abs().max() < 4.5 and 0.2 < (z**2).mean() < 2, (moment, z.abs().max(), (z**2).mean())
