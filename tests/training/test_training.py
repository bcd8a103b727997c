import copy
import shutil
from dataclasses import replace

import pytest
import torch

from pfml.losses import build_loss
from pfml.training.batches.pictures import TensorPictures
from pfml.training.batches.transforms import TRANSFORMS
from pfml.training.loop import train
from pfml.training.measure import embed, measure
from pfml.training.networks.model import build_model
from tests.training.scenes import bits, half, same, with_recipe


@pytest.mark.parametrize("method", ["pfml", "cpml", "proxy_nca", "contrastive"])
def test_training_learns_and_is_reproducible_to_the_bit(run, data, method):
    first, second = train(run(method, epochs=6), data), train(run(method, epochs=6), data)
    assert same(bits(first.model), bits(second.model)) and same(bits(first.loss), bits(second.loss))
    losses = [row["loss"] for row in first.history]
    assert losses[-1] < losses[0]


def test_the_backbone_stays_while_it_is_frozen_and_head_and_proxies_train(run, data):
    torch.manual_seed(0)
    start = bits(build_model(**run().model))
    frozen = bits(train(with_recipe(run("pfml"), frozen_epochs=2, epochs=2), data).model)
    learnt = {name for name in frozen if not torch.equal(frozen[name], start[name])}
    assert {"head.weight", "head.bias"} <= learnt
    assert all("running" in name or "tracked" in name for name in learnt - {"head.weight", "head.bias"})
    later = bits(train(with_recipe(run("pfml"), frozen_epochs=2, epochs=3), data).model)
    assert not torch.equal(later["backbone.blocks.0.weight"], start["backbone.blocks.0.weight"])


STATISTICS = {"running_mean", "running_var"}


@pytest.mark.parametrize(
    "mode, stays",
    [("none", set()), ("statistics", STATISTICS), ("statistics+affine", STATISTICS | {"weight", "bias"})],
)
def test_what_freezing_batchnorm_freezes(run, data, mode, stays):
    torch.manual_seed(0)
    start = bits(build_model(**run().model))
    trained = bits(train(with_recipe(run("pfml"), freeze_bn=mode, epochs=2), data).model)
    parts = ("running_mean", "running_var", "weight", "bias")
    same_as_before = {
        part for part in parts if torch.equal(trained[f"backbone.blocks.1.{part}"], start[f"backbone.blocks.1.{part}"])
    }
    assert same_as_before == stays


def test_an_average_of_the_weights_is_what_is_measured_and_kept(run, data):
    plain, averaged = (train(with_recipe(run("pfml"), ema=decay), data) for decay in (0.0, 0.9))
    assert [row["loss"] for row in plain.history] == [row["loss"] for row in averaged.history]  # it steers nothing
    assert not same(bits(plain.model), bits(averaged.model))
    assert averaged.history[-1]["map@r"] == measure(averaged.model, data)["map@r"]


def test_the_best_epoch_is_kept_where_it_is_asked_for(run, data):
    trained = train(with_recipe(run("pfml"), select="best_test", epochs=6, eval_every=1, lr=0.03), data)
    recalls = [row["recall@1"] for row in trained.history]
    assert trained.epoch == 1 + recalls.index(max(recalls)) and measure(trained.model, data)["recall@1"] == max(recalls)
    last = train(with_recipe(run("pfml"), epochs=6, eval_every=1, lr=0.03), data)
    assert last.epoch == 6 and measure(last.model, data)["recall@1"] == recalls[-1]


def test_a_run_ends_when_validation_classes_have_had_no_better_result_for_long(run, data):
    held = replace(data, validation=half(4, 8, 2))
    settings = {"epochs": 40, "eval_every": 1, "hold_out": True, "select": "best_validation", "patience": 3, "lr": 0.05}
    trained = train(with_recipe(run("pfml"), **settings), held)
    scores = [row["val_map@r"] for row in trained.history]
    assert len(scores) < 40 and trained.epoch == 1 + scores.index(max(scores)) == len(scores) - 3
    assert measure(trained.model, held)["val_map@r"] == max(scores)
    states = []
    train(with_recipe(run("pfml"), **settings), held, save=lambda state: states.append(copy.deepcopy(state)))
    again = train(with_recipe(run("pfml"), **settings), held, state=states[-1])
    assert len(again.history) == len(scores) and again.epoch == trained.epoch  # an ended run stays ended


def test_the_network_runs_in_the_precision_asked_for_and_the_loss_in_float32(run, data):
    plain, short = (train(with_recipe(run("pfml"), precision=kind), data) for kind in ("float32", "bfloat16"))
    assert not same(bits(plain.model), bits(short.model))
    assert all(value.dtype == torch.float32 for value in short.loss.state_dict().values() if value.is_floating_point())
    assert short.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=0.2)


def test_clipping_of_proxies_moves_runs_that_have_proxies_and_no_other(run, data):
    for method, moved in (("pfml", True), ("contrastive", False)):
        on, off = (train(with_recipe(run(method), clip_proxies=clip), data) for clip in (True, False))
        assert same(bits(on.model), bits(off.model)) != moved


def test_clipped_proxies_end_near_the_data_that_they_stand_for(run, data):
    """Unclipped, the large gradients of the first steps slow Adam down and the network leaves the proxies behind."""
    from pfml.wasserstein import proxy_wasserstein

    def distance(clip):
        recipe = {"clip_proxies": clip, "epochs": 15, "sampler": "random", "lr": 3e-3, "proxy_lr": 0.1}
        conv4 = replace(run("pfml"), model=run("pfml").model | {"backbone": "conv4"})
        trained = train(with_recipe(conv4, **recipe), data)
        unit = torch.nn.functional.normalize
        embeddings = unit(embed(trained.model, data.train.pictures), dim=1).numpy()
        return proxy_wasserstein(
            unit(trained.loss.proxies.detach(), dim=2).numpy(), embeddings, data.train.labels.numpy()
        )

    assert distance(True) < 0.8 * distance(False)


def test_batches_without_pairs_are_refused_for_a_loss_that_learns_from_pairs(run, data):
    with pytest.raises(ValueError, match=r"train\.images_per_class: 'contrastive' learns from pairs of one class"):
        train(with_recipe(run("contrastive"), sampler="balanced", images_per_class=1, batch=10), data)


def test_the_seed_matters(run, data):
    first = train(run(), data)
    assert not same(bits(first.model), bits(train(replace(run(), seed=1), data).model))


def test_held_out_classes_are_measured_and_the_test_half_is_not(run, data):
    held = replace(data, validation=half(4, 8, 2))
    row = train(run(hold_out=True), held).history[-1]
    assert "val_recall@1" in row and "recall@1" not in row


def test_eval_every_leaves_epochs_out_but_never_the_last(run, data):
    history = train(run(eval_every=3), data).history
    assert [row["epoch"] for row in history if "recall@1" in row] == [3, 4]


def test_a_diverging_run_stops_and_says_where(run, data, monkeypatch):
    import pfml.training.loop as training

    def poisoned(*args, **kwargs):
        loss = build_loss(*args, **kwargs)
        loss.loss.proxies.data.fill_(float("nan"))
        return loss

    monkeypatch.setattr(training, "build_loss", poisoned)
    with pytest.raises(FloatingPointError, match=r"glyphs-proxy_nca-0\.0-0: the loss became nan in epoch 1, step 1"):
        train(run("proxy_nca"), data)
    monkeypatch.undo()
    wild = with_recipe(run("pfml"), lr=1e30, warmup=0.0, clip_norm=0.0)
    with pytest.raises(
        FloatingPointError, match=r"pfml-0\.0-0: the embeddings became NaN or infinite in epoch 1, step"
    ):
        train(wild, data)


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler on the CPU")
def test_a_compiled_network_trains_alike(run, data, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # not kernels that another process made
    torch._dynamo.reset()
    settings = {"epochs": 1, "steps_per_epoch": 2}
    plain, compiled = (train(with_recipe(run("pfml"), compile=on, **settings), data) for on in (False, True))
    assert compiled.history[0]["loss"] == pytest.approx(plain.history[0]["loss"], rel=1e-3)
    assert bits(compiled.model).keys() == bits(plain.model).keys()
    weights = [trained.model.head.weight.detach() for trained in (plain, compiled)]
    assert torch.allclose(*weights, atol=1e-3)


def test_float16_trains_with_a_scaled_loss(run, data):
    trained = train(with_recipe(run("pfml"), precision="float16", epochs=6), data)
    assert trained.history[-1]["loss"] < trained.history[0]["loss"]


def test_without_a_number_of_steps_an_epoch_is_one_pass_of_whole_batches(run, data):
    def bits(trained):
        return [row["loss"] for row in trained.history], trained.model.head.weight.detach().numpy().tobytes()

    passed = train(with_recipe(run("pfml"), steps_per_epoch=None, epochs=2), data)
    counted = train(with_recipe(run("pfml"), steps_per_epoch=4, epochs=2), data)  # 96 images, batches of 20
    assert bits(passed) == bits(counted)
    short = train(with_recipe(run("pfml"), steps_per_epoch=None, epochs=1, batch=200, sampler="random"), data)
    assert len(short.history) == 1  # fewer images than a batch: one step


def test_embed_is_in_evaluation_mode_and_independent_of_the_batch():
    from pfml.training.networks.model import build_model

    torch.manual_seed(0)
    model, images = build_model("conv3", 8), torch.randint(0, 256, (30, 3, 16, 16), dtype=torch.uint8)
    pictures = TensorPictures(images, TRANSFORMS["shift"], 3)
    assert torch.allclose(embed(model, pictures, batch=30), embed(model, pictures, batch=7), atol=1e-5)
