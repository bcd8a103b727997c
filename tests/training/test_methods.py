"""Methods that are more than a loss: what the training does for them, and that they keep what losses keep."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from pfml.losses.baselines.diva import Heads
from pfml.losses.common.method import Method, method_of
from pfml.losses.common.triplets import distance_weighted
from pfml.settings import ConfigError
from pfml.settings.load import load_params
from pfml.settings.runs import find_run, grid_runs
from pfml.training import loop
from pfml.training.batches.run_data import RunData
from pfml.training.loop import Interrupted, train
from pfml.training.networks.heads import Standardize, build_head, in_place_of_linear
from pfml.training.networks.trunk import build_trained_part
from tests.training.scenes import bits, half, same

METHODS = ("diva", "drml_pa", "dcml_mdw", "htl")
SMALL = {"diva": {"memory": 50, "separation": 20.0}, "htl": {"together": 2, "levels": 4}}


@pytest.fixture
def data():
    return RunData(half(12, 8, 0), half(6, 8, 1), None, 12)


@pytest.fixture
def run(tiny, write):
    def made(method, loss=None, **changes):
        tiny["train"] |= {"epochs": 3, "batch": 20, "images_per_class": 2, "sampler": "balanced"} | changes
        tiny["grid"] |= {"baseline": [method], "noise": [0.0], "seed": [0]}
        tiny["baseline"][method]["loss"] |= SMALL.get(method, {}) | (loss or {})
        tiny["baseline"][method]["train"] = {}
        return find_run(grid_runs(load_params(write(tiny))), f"glyphs-{method}-0.0-0")

    return made


@pytest.mark.parametrize("method", METHODS)
def test_a_method_trains_and_goes_on_to_the_bit_from_inside_an_epoch(run, data, method):
    settings = run(method, steps_per_epoch=5, checkpoint_steps=2, epochs=3)
    states, whole = [], train(settings, data)
    start = build_trained_part(settings, data.train.pictures)
    assert not same(bits(start), bits(whole.model)), "it trained"
    calls = iter(range(10**6))
    with pytest.raises(Interrupted):  # in the second epoch
        train(
            settings, data, save=lambda state: states.append(copy.deepcopy(state)), stop=lambda: next(calls) == 9
        )  # fmt: skip
    for state in states[-2:]:
        resumed = train(settings, data, state=copy.deepcopy(state))
        assert same(bits(whole.model), bits(resumed.model)) and same(bits(whole.loss), bits(resumed.loss))
        assert torch.equal(whole.passed, resumed.passed)
        assert [row["loss"] for row in whole.history] == [row["loss"] for row in resumed.history]


@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_of_a_method_and_of_its_head_trains(run, data, method):
    trained, start = train(run(method, steps_per_epoch=4, epochs=3), data), []
    train(run(method, steps_per_epoch=4, epochs=1), data, save=start.append)
    for part, holder in (("model", trained.model), ("loss", trained.loss)):
        trains = {name for name, p in holder.named_parameters() if p.requires_grad}
        moved = {name for name in trains if not torch.equal(holder.get_parameter(name), start[0][part][name])}
        assert moved == trains


@pytest.mark.parametrize("method", METHODS)
def test_what_passed_are_embeddings_of_its_own_head(run, data, method):
    settings = run(method, epochs=1)
    trained = train(settings, data)
    assert trained.passed.shape[1] == settings.dim
    images = next(data.test.pictures.evaluation(10))
    trained.model.eval()
    features = trained.model.features(images)
    assert trained.model(images).shape == (10, settings.dim)
    trained.model.head.train()
    rows = trained.model.head(features)
    trained.model.head.eval()
    torch.testing.assert_close(method_of(trained.loss).embedding(rows), trained.model.head(features))


class Watch(Method):
    """Contrasts an image with its second view, and notes what the training does."""

    views, remembered = 2, 30
    title, acts, pairs, least, version, trains, head = "Watch", None, False, 1, 1, True, None

    def __init__(self, num_classes, embedding_dim):
        super().__init__()
        self.calls, self.images = [], []

    def attach(self, model):
        self.model = [model]  # not a part of this module
        self.calls.append("attach")

    def looks(self, epoch):
        return epoch == 1

    def look(self, epoch, embeddings, labels):
        self.calls.append(f"look {epoch} {tuple(embeddings.shape)} {len(labels)}")

    def keys(self, images):
        self.images.append(images)
        return self.model[0](images).detach()

    def remember(self, keys):
        self.calls.append(f"remember {len(keys)}")

    def forward(self, embeddings, labels, keys):
        self.calls.append("energy")
        return (1 - F.cosine_similarity(embeddings, keys)).mean()

    def after_step(self, model):
        assert model is self.model[0]
        self.calls.append("step")


def test_what_a_method_asks_for_comes_in_order(run, data, monkeypatch):
    settings = run("proxy_nca", epochs=2, steps_per_epoch=2)
    made = []

    def build(*arguments, **_):
        made.append(Watch(*arguments[1:]))
        return made[-1]

    monkeypatch.setattr(loop, "build_loss", build)
    seen = []
    training = data.train.pictures.training

    def watched(batches, *arguments, **named):
        for batch, images in training(batches, *arguments, **named):
            seen.append((batch, images))
            yield batch, images

    monkeypatch.setattr(data.train.pictures, "training", watched)
    train(settings, data)
    [watch] = made
    count = len(data.train.labels)
    assert watch.calls == [
        "attach", "remember 20", "remember 20", *["energy", "step"] * 2,
        f"look 1 ({count}, {settings.dim}) {count}", *["energy", "step"] * 2,
    ]  # fmt: skip
    steps = seen[2:]  # the first two filled the memory
    for (batch, images), (again, others) in zip(steps[::2], steps[1::2]):
        assert torch.equal(batch, again) and not torch.equal(images, others), "two views of the same images"


def test_a_loss_asks_for_nothing():
    inert = method_of(torch.nn.Linear(2, 2))
    assert inert.views == 1 and not inert.remembered and not inert.looks(0)
    rows = torch.randn(3, 2)
    assert inert.embedding(rows) is rows and inert.batches(rows, 1, 1, 1, 0, 0, 0) is None


def test_the_second_network_of_diva_follows_the_first(run, data):
    kept = []
    trained = train(run("diva", {"average": 0.5}, epochs=1, steps_per_epoch=1), data, save=kept.append)
    torch.manual_seed(0)
    start = build_trained_part(run("diva", {"average": 0.5}), data.train.pictures)
    for name, first in start.named_parameters():
        now, followed = trained.model.get_parameter(name), trained.loss.network.get_parameter(name)
        torch.testing.assert_close(followed, 0.5 * first + 0.5 * now)
    assert int(trained.loss.filled) == 50 and not trained.loss.network.backbone.training
    assert trained.loss.memory.norm(dim=1).allclose(torch.ones(50))


def test_batches_of_htl_have_the_nearest_classes(run, data):
    settings = run("htl", epochs=2)
    trained = train(settings, data)
    loss = trained.loss
    assert torch.equal(loss.nearest[:, 0], torch.arange(12)), "each class is nearest to itself"
    labels = data.train.labels
    drawn = list(loss.batches(labels, 20, 2, 3, 0, 5, 0))
    for batch in drawn:
        classes = labels[batch].view(5, 2, 2)  # groups, classes together, images of a class
        assert torch.equal(classes[..., 0], classes[..., 1])
        for first, second in classes[..., 0].tolist():
            assert second == loss.nearest[first, 1]
    again = list(loss.batches(labels, 20, 2, 3, 0, 5, 1))
    assert all(torch.equal(one, other) for one, other in zip(drawn[1:], again)), "from any step on"
    with pytest.raises(ValueError, match=r"train\.batch: expected a multiple of 4"):
        loss.batches(labels, 22, 2, 3, 0, 5, 0)


def test_a_head_of_a_method_takes_the_place_of_the_linear_layer_alone(tiny, write):
    replaced = in_place_of_linear(build_head(12, 8, "standardize+linear"), Heads, 8, {"test_weight": 1.0})
    assert isinstance(replaced[0], Standardize) and isinstance(replaced[1], Heads)
    assert replaced(torch.randn(3, 12)).shape == (3, 8)
    assert isinstance(in_place_of_linear(build_head(12, 8), Heads, 8, {"test_weight": 1.0}), Heads)
    tiny["grid"] |= {"baseline": ["diva"]}
    tiny["model"]["head"] = "mlp"
    with pytest.raises(ConfigError, match=r"model\.head: expected linear or standardize\+linear .* found mlp"):
        grid_runs(load_params(write(tiny)))


def test_an_embedding_that_the_heads_cannot_share_is_refused(run, data):
    for method in ("diva", "drml_pa", "dcml_mdw"):
        settings = run(method)
        object.__setattr__(settings, "model", dict(settings.model) | {"embedding_dim": 6})
        with pytest.raises(ValueError, match=r"embedding_dim: expected a multiple of 4"):
            train(settings, data)


def test_negatives_are_drawn_by_their_distance():
    generator = torch.Generator().manual_seed(0)
    units = F.normalize(torch.tensor([[1.0, 0, 0, 0], [1, 0.1, 0, 0], [0.6, 0.8, 0, 0], [-1, 0, 0.2, 0]]), dim=1)
    labels, counts = torch.tensor([0, 0, 1, 2]), np.zeros(4)
    for _ in range(2000):
        anchors, positives, negatives = distance_weighted(units, labels, generator)
        assert anchors.tolist() == [0, 1] and positives.tolist() == [1, 0]
        counts[negatives[0]] += 1
    near, far = (2 - 2 * units[0] @ units[i] for i in (2, 3))
    weights = [float(d.sqrt() ** -2 * (1 - d / 4) ** -0.5) for d in (near, far)]
    assert counts[:2].sum() == 0 and counts[2] / 2000 == pytest.approx(weights[0] / sum(weights), abs=0.04)
