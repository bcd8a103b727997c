"""A file fills the whole backbone, or nothing happens and the error lists what does not fit."""

import pickle

import pytest
import torch
from safetensors.torch import save_file

from pfml.training.networks.model import build_model
from pfml.training.networks.weights import load_backbone


@pytest.fixture
def donor() -> torch.nn.Module:
    """A trained-looking backbone: no value is one that a new network starts with."""
    torch.manual_seed(1)
    network = build_model("test_resnet", 8).backbone
    for value in network.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.1, 1)
    return network


def load(path, name: str = "test_resnet", **options) -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    return build_model(name, 8, weights=str(path), **options).backbone.state_dict()


def same(found: dict, expected: dict) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


WAYS = {
    "plain": lambda state: state,
    "wrapped": lambda state: {"state_dict": state, "epoch": 7},
    "under model": lambda state: {"model": state, "optimizer": {"lr": 0.1}},
    "from DataParallel": lambda state: {"state_dict": {f"module.{name}": value for name, value in state.items()}},
    "with a classifier": lambda state: state | {"fc.weight": torch.ones(10, 3), "fc.bias": torch.ones(10)},
    "other classifiers": lambda state: state | {"head.weight": torch.ones(2), "last_linear.bias": torch.ones(2)},
    "without counters": lambda state: {n: v for n, v in state.items() if not n.endswith("num_batches_tracked")},
    "vectors as rows": lambda state: {n: v[None] if v.ndim == 1 else v for n, v in state.items()},
}


PREFIXES = (
    "_orig_mod.", "module.", "model.", "encoder.", "backbone.", "_orig_mod.module.", "module._orig_mod.",
    "model.backbone.", "backbone.module.", "module.model.encoder.", "module.backbone._orig_mod.", "model.model.",
)  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
def test_prefixes_of_wrappers_and_other_programs_are_taken_away(prefix, donor, tmp_path):
    """Also where a head stands beside the backbone, under a part of the prefix or under none."""
    state = {prefix + name: value for name, value in donor.state_dict().items()}
    outer = prefix.rpartition(".")[0].rpartition(".")[0]
    heads = {}, {f"{outer}{'.' * bool(outer)}head.weight": torch.ones(2)}, {"fc.bias": torch.ones(2)}
    for number, rest in enumerate(heads):
        torch.save({"state_dict": state | rest}, tmp_path / f"{number}.pth")
        assert same(load(tmp_path / f"{number}.pth"), donor.state_dict()), rest


def test_a_part_that_was_compiled_alone_loads(donor, tmp_path):
    state = {name.replace("layer1.", "layer1._orig_mod."): value for name, value in donor.state_dict().items()}
    assert any("_orig_mod" in name for name in state)
    torch.save(state, tmp_path / "file.pth")
    assert same(load(tmp_path / "file.pth"), donor.state_dict())


def test_a_prefix_that_may_mean_something_is_named(donor, tmp_path):
    """Such as one of the two networks of a teacher and its student."""
    torch.save({f"module.teacher.{name}": value for name, value in donor.state_dict().items()}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r"; its names begin with 'module.teacher.', which you can take away\)"):
        load(tmp_path / "file.pth")


def test_other_entries_beside_a_prefixed_backbone_are_unexpected(donor, tmp_path):
    state = {f"model.{name}": value for name, value in donor.state_dict().items()}
    torch.save(state | {"criterion.proxies": torch.ones(3)}, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r"does not fit this ResNet: 1 unexpected \(criterion.proxies\)\. ") as caught:
        load(tmp_path / "file.pth")
    assert "begin with" not in str(caught.value)
    torch.save(dict(donor.state_dict()) | {"model.bn1.weight": torch.ones(32)}, tmp_path / "two.pth")
    with pytest.raises(ValueError, match=r"1 unexpected \(model.bn1.weight\)"):
        load(tmp_path / "two.pth")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_numbers_that_are_not_finite_are_refused_by_name(value, donor, tmp_path):
    state = {name: value.clone() for name, value in donor.state_dict().items()}
    for name in ("layer1.0.conv1.weight", "bn1.running_var"):
        state[name].view(-1)[1] = value
    for name, content in (("plain", state), ("prefixed", {f"module.{one}": part for one, part in state.items()})):
        torch.save(content, tmp_path / f"{name}.pth")
        with pytest.raises(ValueError, match=r"found NaN or infinity in 2 tensors \(") as caught:
            load(tmp_path / f"{name}.pth")
        assert "layer1.0.conv1.weight" in str(caught.value) and "bn1.running_var" in str(caught.value)


def test_numbers_beyond_float32_are_refused_by_name(donor, tmp_path):
    state = dict(donor.state_dict())
    state["bn1.weight"] = torch.full((32,), 1e300, dtype=torch.float64)
    torch.save(state, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r"found NaN or infinity in 1 tensors \(bn1.weight\)"):
        load(tmp_path / "file.pth")


@pytest.mark.parametrize("way", WAYS)
def test_state_dicts_in_the_wild(way, donor, tmp_path):
    path = tmp_path / "file.pth"
    torch.save(WAYS[way](dict(donor.state_dict())), path)
    assert same(load(path), donor.state_dict())


def test_safetensors_and_half_precision(donor, tmp_path):
    half = {name: value.half() if value.is_floating_point() else value for name, value in donor.state_dict().items()}
    save_file(half, tmp_path / "file.safetensors")
    found = load(tmp_path / "file.safetensors")
    assert same(found, {name: value.to(found[name].dtype) for name, value in half.items()})


def test_a_network_trained_here_can_be_gone_on_from(tmp_path):
    torch.manual_seed(0)
    model = build_model("conv4", 8, head="linear+batchnorm")
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    assert same(load(tmp_path / "model.safetensors", "conv4"), model.backbone.state_dict())


def test_the_head_begins_as_without_weights(donor, tmp_path):
    torch.save(donor.state_dict(), tmp_path / "file.pth")
    torch.manual_seed(5)
    fresh = build_model("test_resnet", 8).head.weight
    torch.manual_seed(5)
    assert torch.equal(build_model("test_resnet", 8, weights=tmp_path / "file.pth").head.weight, fresh)


def test_bn_inception_in_the_layout_of_its_old_checkpoint(tmp_path):
    """Made before torch 0.4.1: the legacy format, rows for BatchNorm vectors, no counters, and the classifier."""
    torch.manual_seed(0)
    network = build_model("bn_inception", 8).backbone
    old = {}
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            value.uniform_(0.1, 1)
            old[name] = value[None] if "_bn." in name else value
    old |= {"last_linear.weight": torch.rand(1000, 1024), "last_linear.bias": torch.rand(1000)}
    torch.save(old, tmp_path / "bn.pth", _use_new_zipfile_serialization=False)
    assert same(load(tmp_path / "bn.pth", "bn_inception"), network.state_dict())
    torch.save(dict(network.state_dict()), tmp_path / "new.pth")
    assert same(load(tmp_path / "new.pth", "bn_inception"), network.state_dict())


def test_what_does_not_fit_is_listed_and_nothing_is_loaded(donor, tmp_path):
    state = dict(donor.state_dict())
    for number in range(5):
        state[f"layer9.{number}"] = torch.ones(1)
    del state["bn1.weight"]
    state["bn1.bias"] = torch.ones(77)
    state["bn1.running_mean"] = torch.ones(32, dtype=torch.int8)
    torch.save(state, tmp_path / "file.pth")
    network = build_model("test_resnet", 8).backbone
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(ValueError) as error:
        load_backbone(network, tmp_path / "file.pth")
    for part in (
        f"model.weights: {tmp_path / 'file.pth'} does not fit this ResNet: 1 missing (bn1.weight); ",
        "5 unexpected (layer9.0, layer9.1, layer9.2, ...); ",
        "2 different (bn1.bias: found float (77,), expected float (32,), bn1.running_mean: found integer (32,), ",
        "check model.backbone and model.backbone_options",
    ):
        assert part in str(error.value)
    assert same(network.state_dict(), before)


def test_another_backbones_file_is_refused(donor, tmp_path):
    torch.save(donor.state_dict(), tmp_path / "file.pth")
    with pytest.raises(ValueError, match=r"does not fit this Conv4: 20 missing .*; \d+ unexpected"):
        load(tmp_path / "file.pth", "conv4")


class Bomb:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of the file ran')",)


def test_code_in_a_file_is_not_run(tmp_path):
    with open(tmp_path / "bomb.pth", "wb") as file:
        pickle.dump({"bn1.weight": Bomb()}, file, protocol=2)
    with pytest.raises(
        ValueError, match=r"bomb\.pth could not be read .* A \.pth that needs to run code is never opened"
    ):
        load(tmp_path / "bomb.pth")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off"])
@pytest.mark.parametrize("name", ["file.pth", "file.safetensors"])
def test_what_is_no_file_of_weights(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.weights: .*file\.\w+ could not be read as a state dict"):
        load(tmp_path / name)


@pytest.mark.parametrize(
    "content, said",
    [([1, 2], "found a list"), ({"epoch": 3, "lr": 0.1}, "found a dict with epoch, lr"), ({}, "a dict")],
)
def test_what_is_no_state_dict(content, said, tmp_path):
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(ValueError, match=rf"expected a state dict \(names with tensors\), {said}|found a dict$"):
        load(tmp_path / "file.pth")
