"""Batches from packs and tensors: the right pixels, whoever cuts them, from any step on, whatever goes wrong."""

import io
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pfml.datasets.listing import Listing
from pfml.datasets.pack import pack
from pfml.images.packed import PackedImages
from pfml.training.batches.pictures import PackedPictures, TensorPictures, step_generator
from pfml.training.batches.samplers import SAMPLERS, epoch_batches
from pfml.training.batches.transforms import TRANSFORMS, flips, normalize, random_boxes

vision = pytest.importorskip("torchvision.transforms")
TINY = replace(TRANSFORMS["proxy_anchor"], size=24, resize=32)
SQUARE = [name for name, transform in TRANSFORMS.items() if transform.size]
IMAGES = 15


def photo(i: int) -> Image.Image:
    """Smooth colours in many shapes: wide, high, smaller and larger than what is cut from them."""
    width, height = 40 + 37 * (i * 7 % IMAGES), 60 + 29 * (i * 4 % IMAGES)
    small = np.random.default_rng(i).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def listing() -> Listing:
    def read(name):
        buffer = io.BytesIO()
        photo(int(name)).save(buffer, "PNG" if int(name) % 3 else "JPEG", quality=90)
        return buffer.getvalue()

    names = [str(i) for i in range(IMAGES)]
    class_id = [i % 5 for i in range(IMAGES)]
    return Listing(pd.DataFrame({"name": names, "class_id": class_id, "class_name": map(str, class_id)}), read)


@pytest.fixture(scope="module")
def packs(tmp_path_factory):
    """Folders of packs: exact, and fast at short sides 32, 40, 72 and 256."""
    root = tmp_path_factory.mktemp("packs")
    pack(listing(), root / "exact", "mine")
    for short_side in (32, 40, 72, 256):
        pack(listing(), root / str(short_side), "mine", mode="fast", short_side=short_side)
    return root


def eager(transform):
    """What torchvision composes for evaluation: PIL image -> tensor."""
    steps = [vision.Resize(transform.resize, vision.InterpolationMode(transform.interpolation))]
    return vision.Compose([*steps, vision.CenterCrop(transform.size), *to_input(transform)])


def to_input(transform):
    order = [2, 1, 0] if transform.order == "BGR" else [0, 1, 2]
    scaled = vision.Lambda(lambda image: (image * 255).round() if transform.white == 1 else image)
    mean_std = vision.Normalize(transform.mean, transform.std)
    return [vision.ToTensor(), vision.Lambda(lambda image: image[order]), scaled, mean_std]


@pytest.mark.parametrize("name", SQUARE)
def test_evaluation_is_torchvisions_to_the_bit(packs, name):
    images, transform = PackedImages(packs / "exact"), TRANSFORMS[name]
    items = np.array([3, 0, 14, 7, 7, 11])
    batches = list(PackedPictures(images, items, transform).evaluation(4))
    assert [tuple(batch.shape) for batch in batches] == [(n, 3, transform.size, transform.size) for n in (4, 2)]
    expected = torch.stack([eager(transform)(Image.fromarray(images[i])) for i in items])
    assert torch.equal(torch.cat(batches), expected)


@pytest.mark.parametrize("name", ["proxy_anchor", "bn_inception", "vit", "dino", "small"])
def test_exact_and_fast_packs_evaluate_the_same_pixels(packs, name):
    transform = TRANSFORMS[name]
    exact, fast = (
        torch.cat(list(PackedPictures(packs / mode, np.arange(IMAGES), transform).evaluation(4)))
        for mode in ("exact", str(transform.resize))
    )
    assert torch.equal(exact, fast)


def test_a_fast_pack_of_another_short_side_is_resized_once_more(packs):
    images, transform = PackedImages(packs / "40"), TINY
    found = torch.cat(list(PackedPictures(images, np.arange(IMAGES), transform).evaluation(4)))
    assert torch.equal(found, torch.stack([eager(transform)(Image.fromarray(image)) for image in images]))


@pytest.mark.parametrize("name", SQUARE)
@pytest.mark.parametrize("mode", ["exact", "256"])
def test_training_is_torchvisions_with_the_same_boxes(packs, name, mode):
    """Within one grey level but for one value in 10,000; a fifth of a level on average at worst, where values tie."""
    images, transform, items = PackedImages(packs / mode), TRANSFORMS[name], np.array([5, 2, 9, 12])
    batches = [torch.tensor([0, 3, 1]), torch.tensor([2, 2])]
    feed = PackedPictures(images, items, transform).training(iter(batches), seed=4, epoch=2)
    for step, (indices, found) in enumerate(feed):
        assert torch.equal(indices, batches[step])
        pictures = [Image.fromarray(images[items[i]]) for i in indices]
        draw = step_generator(4, 2, step)
        sizes = torch.tensor([[picture.height, picture.width] for picture in pictures])
        boxes = random_boxes(*sizes.T, transform, draw)
        mode = vision.InterpolationMode(transform.interpolation)
        for one, picture, box, flip in zip(found, pictures, boxes, flips(len(pictures), transform.flip, draw)):
            expected = vision.functional.resized_crop(picture, *box.tolist(), [transform.size] * 2, mode)
            expected = vision.functional.hflip(expected) if flip else expected
            expected = vision.Compose(to_input(transform))(expected)
            levels = (one - expected).abs() * torch.tensor(transform.std).view(3, 1, 1) * transform.white
            assert levels.max() < 2.01 and (levels > 1.01).float().mean() < 1e-4 and levels.mean() < 0.2
    assert step == 1


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("mode", ["exact", "40"])
def test_an_epoch_goes_on_from_any_step_with_any_number_of_threads(packs, mode, sampler):
    labels = torch.arange(IMAGES) % 5

    def epoch(start, threads):
        feed = PackedPictures(packs / mode, np.arange(IMAGES), TINY, threads)
        batches = epoch_batches(labels, sampler, 6, 5, 2, seed=1, epoch=3, start=start)
        return list(feed.training(batches, 1, 3, start=start))

    whole = epoch(0, 1)
    assert len(whole) == 5
    for start, threads in [(0, 3), (0, 8), (1, 2), (3, 1), (4, 5), (5, 2)]:
        rest = epoch(start, threads)
        assert len(rest) == 5 - start
        for (indices, images), (again, same) in zip(whole[start:], rest):
            assert torch.equal(indices, again) and torch.equal(images, same)


def test_steps_epochs_and_seeds_draw_differently(packs):
    feed = PackedPictures(packs / "40", np.arange(IMAGES), TINY)
    batches = [torch.arange(4)] * 2
    drawn = [images for seed in (0, 1) for epoch in (0, 1) for _, images in feed.training(batches, seed, epoch)]
    assert len({images.numpy().tobytes() for images in drawn}) == 8


def test_the_accelerators_path_gives_the_same_pictures(packs):
    """Its two halves, the thread's and the device's, on the CPU."""
    for mode in ("exact", "40"):
        feed = PackedPictures(packs / mode, np.arange(IMAGES), TINY)
        indices, draw = torch.arange(IMAGES), step_generator(0, 0, 0)
        boxes = random_boxes(*feed.extents.T, TINY, draw)
        mirrored = flips(IMAGES, 0.5, draw)
        ((_, expected),) = feed.training([indices], 0, 0)
        found = feed._finish(feed._prepare((indices.tolist(), boxes, mirrored, None)), torch.device("cpu"))
        assert ((found - expected).abs() * 255 * 0.23).mean() < 0.05
        # In evaluation the squares are cut already, and resizing them to their own size changes nothing.
        unflipped = torch.zeros(IMAGES, dtype=torch.bool)
        piece = feed._prepare((indices.tolist(), [None] * IMAGES, unflipped, None))
        assert torch.equal(feed._finish(piece, torch.device("cpu")), next(feed.evaluation(IMAGES)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_pictures_are_the_same(packs):
    feed = PackedPictures(packs / "exact", np.arange(IMAGES), TINY)
    batches = list(torch.arange(IMAGES).split(4))
    for (_, expected), (_, found) in zip(feed.training(batches, 0, 0), feed.training(batches, 0, 0, "cuda")):
        assert found.device.type == "cuda" and ((found.cpu() - expected).abs() * 255 * 0.23).mean() < 0.05
    for expected, found in zip(feed.evaluation(4), feed.evaluation(4, "cuda")):
        assert torch.allclose(found.cpu(), expected, atol=1e-6)


def workers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("ThreadPoolExecutor")]


def test_only_two_batches_are_prepared_ahead(packs):
    drawn = []

    def batches():
        for step in range(50):
            drawn.append(step)
            yield torch.arange(6)

    feed = PackedPictures(packs / "40", np.arange(IMAGES), TINY, threads=3).training(batches(), 0, 0)
    for step in range(20):
        next(feed)
        assert len(drawn) <= step + 3
    assert workers()
    feed.close()
    assert not workers() and len(drawn) <= 22


def test_an_evaluation_that_is_left_early_stops_its_threads(packs):
    feed = PackedPictures(packs / "exact", np.arange(IMAGES), TINY, threads=2).evaluation(2)
    next(feed)
    assert workers()
    feed.close()
    assert not workers()


def test_batches_that_are_kept_stay_as_they_were(packs):
    feed = PackedPictures(packs / "40", np.arange(IMAGES), TINY)
    kept = [(images, images.clone()) for _, images in feed.training([torch.arange(6)] * 20, 0, 0)]
    assert all(torch.equal(images, copy) for images, copy in kept)


@pytest.mark.parametrize("threads", [1, 4])
def test_a_damaged_image_is_named_and_the_threads_end(tmp_path, threads):
    pack(listing(), tmp_path / "p", "mine")
    images = PackedImages(tmp_path / "p")
    offset, length = images.index[7]
    with open(tmp_path / "p/images.bin", "r+b") as file:
        file.seek(int(offset))
        file.write(bytes(int(length)))
    feed = PackedPictures(images, np.arange(IMAGES)[::-1], TINY, threads)
    for batches in (feed.training([torch.arange(4), torch.arange(4, 12)], 0, 0), feed.evaluation(4)):
        next(batches)
        with pytest.raises(ValueError, match=r"p, image 7: not an image"):
            list(batches)
        assert not workers()


def test_a_failure_of_any_kind_names_the_image(packs):
    """A pack whose items.csv claims more rows than the picture has."""
    feed = PackedPictures(packs / "exact", np.array([4, 6]), TINY)
    feed.extents[1] = torch.tensor([9000, 9000])
    with pytest.raises(ValueError, match="boxes: expected") as caught:
        list(feed.training([torch.tensor([0, 1])], 0, 0))
    assert any("reading image 6 of" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    "mode, items, transform, what",
    [
        ("32", [0], TRANSFORMS["vit"], r"dataset\.mine\.short_side: expected at least the 224 .* of 32; set it to 256"),
        ("exact", [0], TRANSFORMS["shift"], "transform: expected one with a size"),
        ("exact", [0, IMAGES], TINY, "items: expected rows 0 to 14 of mine, found 15"),
        ("exact", [-1, 3], TINY, "items: expected rows 0 to 14"),
        ("gone", [0], TINY, "expected a pack"),
    ],
)  # fmt: skip
def test_what_cannot_be_fed_is_refused(packs, mode, items, transform, what):
    with pytest.raises(ValueError, match=what):
        PackedPictures(packs / mode, np.array(items), transform)


def test_length_counts_the_items(packs):
    assert len(PackedPictures(packs / "32", np.array([3, 3, 1]), TINY)) == 3
    assert list(PackedPictures(packs / "32", np.array([], dtype=int), TINY).evaluation(4)) == []


# In memory


@pytest.fixture
def textures():
    return torch.randint(0, 256, (60, 3, 16, 20), dtype=torch.uint8, generator=torch.manual_seed(0))


def reference(images, batches, padding, seed, epoch):
    """The embedded study's feeding as first written: normalise, then crop from a replicated border."""
    crops = torch.Generator().manual_seed(seed * 100_003 + epoch)
    n, (height, width) = len(batches[0]), images.shape[2:]
    for batch in batches:
        floats = (images[batch].float() / 255 - 0.5) / 0.25
        if padding:
            padded = torch.nn.functional.pad(floats, [padding] * 4, mode="replicate")
            top, left = torch.randint(0, 2 * padding + 1, (2, n, 1, 1, 1), generator=crops)
            rows, columns = top + torch.arange(height).view(1, 1, height, 1), left + torch.arange(width)
            floats = padded[torch.arange(n).view(n, 1, 1, 1), torch.arange(3).view(1, 3, 1, 1), rows, columns]
        yield floats


@pytest.mark.parametrize("padding", [0, 2])
def test_tensor_pictures_have_the_bits_of_the_embedded_study(textures, padding):
    pictures = TensorPictures(textures, TRANSFORMS["shift"], padding)
    batches = list(torch.randint(0, 60, (7, 10), generator=torch.manual_seed(1)))
    for seed, epoch in ((0, 0), (3, 5)):
        found = list(pictures.training(batches, seed, epoch))
        for (indices, images), batch, expected in zip(
            found, batches, reference(textures, batches, padding, seed, epoch)
        ):
            assert torch.equal(indices, batch) and torch.equal(images, expected)
        for start in range(8):
            rest = list(pictures.training(batches[start:], seed, epoch, start=start))
            assert len(rest) == 7 - start
            assert all(torch.equal(images, same) for (_, images), (_, same) in zip(found[start:], rest))


def test_tensor_pictures_evaluate_in_order(textures):
    pictures = TensorPictures(textures, TRANSFORMS["shift"], 2)
    batches = list(pictures.evaluation(25))
    assert [len(batch) for batch in batches] == [25, 25, 10] and len(pictures) == 60
    assert torch.equal(torch.cat(batches), normalize(textures, TRANSFORMS["shift"]))


def test_other_tensors_and_transforms_are_refused(textures):
    for images in (textures.float(), textures[:, :1], textures[0]):
        with pytest.raises(ValueError, match=r"images: expected \(n, 3, h, w\) uint8, found"):
            TensorPictures(images, TRANSFORMS["shift"], 2)
    with pytest.raises(ValueError, match="transform: expected one without size and flip"):
        TensorPictures(textures, TRANSFORMS["small"], 2)
