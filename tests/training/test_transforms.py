"""Draws against torchvision's by their distribution; values against torchvision's to the bit."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binomtest, ks_2samp

from pfml.training.batches.transforms import TRANSFORMS, center_boxes, flips, normalize, random_boxes, shifted, shifts

vision = pytest.importorskip("torchvision.transforms")
DRAWS = 4000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def pixels(*shape, seed=0):
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator(seed))


def as_columns(boxes, height, width):
    """What a box is judged by: share of the area, log width / height, and where it lies within its room."""
    top, left, h, w = boxes.double().T.numpy()
    room = [np.where(extent > side, start / np.maximum(extent - side, 1), 0.0)
            for start, side, extent in ((top, h, height), (left, w, width))]  # fmt: skip
    return {"area": h * w / (height * width), "ratio": np.log(w / h), "top": room[0], "left": room[1]}


@pytest.mark.parametrize("height, width", [(375, 500), (500, 333), (256, 256), (60, 400), (700, 50), (9, 11)])
@pytest.mark.parametrize("name", ["proxy_anchor", "hyp_vit", "mlrc"])
def test_boxes_are_distributed_as_torchvisions(height, width, name):
    transform = TRANSFORMS[name]
    sizes = [torch.full((DRAWS,), extent) for extent in (height, width)]
    ours = random_boxes(*sizes, transform, generator(1))
    torch.manual_seed(2)
    image = torch.empty(3, height, width)
    get = vision.RandomResizedCrop.get_params
    theirs = torch.tensor([get(image, list(transform.scale), list(transform.ratio)) for _ in range(DRAWS)])
    for boxes in (ours, theirs):
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all()
        assert (boxes[:, :2] + boxes[:, 2:] <= torch.tensor([height, width])).all()
    found, expected = as_columns(ours, height, width), as_columns(theirs, height, width)
    for what in found:
        assert ks_2samp(found[what], expected[what], method="asymp").pvalue > 0.001, what


def test_an_extreme_image_falls_back_to_its_centre():
    """10 x 1000: boxes of at most 4/3 of the height are below 8% of the area, so no try fits."""
    for height, width in ((10, 1000), (1000, 10), (1, 70)):
        boxes = random_boxes(torch.tensor([height] * 5), torch.tensor([width] * 5), TRANSFORMS["vit"], generator())
        expected = vision.RandomResizedCrop.get_params(torch.empty(3, height, width), [0.08, 1.0], [3 / 4, 4 / 3])
        assert boxes.tolist() == [list(expected)] * 5


def test_boxes_of_many_sizes_at_once_fit_each():
    heights, widths = torch.randint(1, 900, (2, 3000), generator=generator())
    boxes = random_boxes(heights, widths, TRANSFORMS["proxy_anchor"], generator())
    assert boxes.dtype == torch.int64 and boxes.shape == (3000, 4)
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] >= 1).all()
    assert (boxes[:, 0] + boxes[:, 2] <= heights).all() and (boxes[:, 1] + boxes[:, 3] <= widths).all()


def test_flips_come_with_their_probability():
    for p in (0.0, 0.2, 0.5, 1.0):
        drawn = flips(DRAWS, p, generator())
        assert drawn.dtype == torch.bool and binomtest(int(drawn.sum()), DRAWS, p).pvalue > 0.001
    first = flips(DRAWS, 0.5, generator())
    assert torch.equal(first, flips(DRAWS, 0.5, generator())) and not torch.equal(
        first, flips(DRAWS, 0.5, generator(1))
    )


@pytest.mark.parametrize("height, width", [(224, 224), (225, 227), (256, 341), (255, 224), (301, 230)])
def test_centre_boxes_are_torchvisions(height, width):
    image = torch.arange(height * width).view(1, height, width)
    top, left, h, w = center_boxes(torch.tensor([height]), torch.tensor([width]), 224)[0].tolist()
    assert torch.equal(image[:, top : top + h, left : left + w], vision.functional.center_crop(image, 224))


def test_a_centre_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="at least 224 pixels a side, found 223"):
        center_boxes(torch.tensor([300, 223]), torch.tensor([300, 300]), 224)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_normalisation_is_torchvisions_to_the_bit(name):
    transform, images = TRANSFORMS[name], pixels(5, 3, 13, 17)
    if name in ("bn_inception", "mlrc"):  # channels reversed, ToTensor, ScaleIntensities to 0-255, Normalize
        expected = images.flip(1).float() - torch.tensor([104.0, 117.0, 128.0]).view(3, 1, 1)
    else:
        expected = vision.Normalize(transform.mean, transform.std)(images.float() / 255)
    assert torch.equal(normalize(images, transform), expected)
    out = torch.empty(5, 3, 13, 17)
    assert normalize(images, transform, out) is out and torch.equal(out, expected)


def test_presets_differ_where_they_say():
    assert replace(TRANSFORMS["dino"], source="") == replace(TRANSFORMS["proxy_anchor"], source="")
    assert all(transform.source for transform in TRANSFORMS.values())
    assert all(t.size is None or t.size <= t.resize for t in TRANSFORMS.values())
    white = normalize(torch.full((1, 3, 1, 1), 255, dtype=torch.uint8), TRANSFORMS["vit"])
    assert white.flatten().tolist() == [1.0, 1.0, 1.0]
    blue = torch.tensor([0, 0, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    assert normalize(blue, TRANSFORMS["bn_inception"]).flatten().tolist() == [255.0 - 104, -117.0, -128.0]


def test_shift_normalises_as_the_embedded_study_does():
    images = pixels(4, 3, 16, 16)
    assert torch.equal(normalize(images, TRANSFORMS["shift"]), (images.float() / 255 - 0.5) / 0.25)


def test_shifted_equals_cutting_from_a_replicated_border():
    images, by = pixels(40, 3, 9, 12), shifts(40, 3, generator())
    assert by.min() == -3 and by.max() == 3
    padded = torch.nn.functional.pad(images.float(), [3] * 4, mode="replicate")
    for image, whole, top, left in zip(shifted(images, by), padded, *(by + 3).tolist()):
        assert torch.equal(image.float(), whole[:, top : top + 9, left : left + 12])
    assert torch.equal(shifted(images, torch.zeros(2, 40, dtype=torch.long)), images)
