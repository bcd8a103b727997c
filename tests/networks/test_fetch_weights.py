"""Published weights from a real local server: fetched once, verified, and never replaced by random ones."""

import hashlib
import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save
from timm.models import get_deprecated_models

from pfml.datasets.download import DownloadError, Source
from pfml.training.networks import weights
from pfml.training.networks.model import build_model
from tests.datasets.http_faults import faulty_server

FILE = "bn_inception-52deb4733.pth"
TIMM = "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors"


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serves what stands for Hugging Face; caches and data/manual are empty folders of this test."""
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PFML_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with faulty_server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture(scope="module")
def checkpoint() -> tuple[bytes, dict[str, torch.Tensor]]:
    """A file in the layout of the old checkpoint, and the state that it holds."""
    torch.manual_seed(0)
    state = build_model("bn_inception", 8).backbone.state_dict()
    buffer = io.BytesIO()
    torch.save(state | {"last_linear.weight": torch.ones(10, 1024), "last_linear.bias": torch.ones(10)}, buffer)
    return buffer.getvalue(), state


@pytest.fixture
def lip6(server, checkpoint, monkeypatch):
    """The server of BN-Inception's checkpoint; its address and digest stand in for the real ones."""
    body = checkpoint[0]
    source = Source(f"{server.url}/{FILE}", FILE, sha256=hashlib.sha256(body).hexdigest(), bytes=len(body))
    monkeypatch.setattr(weights, "BN_INCEPTION", (source,))
    server.files[f"/{FILE}"] = body
    return server


def holds(network: torch.nn.Module, state: dict) -> bool:
    return all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_the_real_address_carries_its_checksum():
    (source,) = weights.BN_INCEPTION
    assert source.file == Path(source.url).name == FILE
    assert len(source.sha256) == 64 and source.sha256.startswith(FILE.split("-")[1].split(".")[0])


def test_bn_inception_is_fetched_once_ever(lip6, checkpoint, tmp_path):
    for _ in range(2):
        model = build_model("bn_inception", 8, weights="pretrained")
        assert holds(model.backbone, checkpoint[1])
    assert lip6.statuses(f"/{FILE}") == [200] and (tmp_path / "cache" / FILE).is_file()
    assert holds(build_model("bn_inception", 8, pretrained=True).backbone, checkpoint[1])


def test_processes_that_start_together_fetch_it_once(lip6):
    with ThreadPoolExecutor(4) as pool:
        paths = list(pool.map(lambda _: weights.fetch_weights("bn_inception"), range(4)))
    assert len(set(paths)) == 1 and lip6.statuses(f"/{FILE}") == [200]


def test_a_file_put_there_by_hand_needs_no_network(lip6, checkpoint, tmp_path):
    (tmp_path / "data/manual").mkdir(parents=True)
    (tmp_path / "data/manual" / FILE).write_bytes(checkpoint[0])
    assert holds(build_model("bn_inception", 8, weights="pretrained").backbone, checkpoint[1])
    assert not lip6.requests


@pytest.mark.parametrize(
    "fault, said",
    [
        ({"body": b"another file" * 1000}, "sha256 found "),
        ({"status": 404}, "HTTP 404"),
        ({"body": b"<html>", "kind": "text/html"}, "a web page came back"),
    ],
    ids=["wrong checksum", "404", "web page"],
)
def test_without_the_right_file_there_is_no_network(fault, said, lip6, tmp_path):
    lip6.plan[f"/{FILE}"] = [fault]
    with pytest.raises(DownloadError) as error:
        build_model("bn_inception", 8, weights="pretrained")
    (source,) = weights.BN_INCEPTION
    for part in (
        "model.weights: the published weights of bn_inception could not be fetched.",
        f"1. {source.url}: {said}",
        f"By hand: get the file (sha256 {source.sha256})",
        f"data/manual/{FILE}",
        "model.weights: path/to/file",
    ):
        assert part in str(error.value)
    assert not (tmp_path / "cache" / FILE).exists()


@pytest.fixture
def hub(server) -> dict[str, torch.Tensor]:
    """Weights of a small timm network under its name on the server, classifier included."""
    torch.manual_seed(1)
    state = dict(build_model("test_resnet", 8).backbone.state_dict())
    server.files[TIMM] = save(state | {"fc.weight": torch.ones(1000, 8), "fc.bias": torch.ones(1000)})
    return state


@pytest.mark.parametrize("name", ["test_resnet", "test_resnet.r160_in1k"])
def test_timm_weights_are_fetched_once_ever(name, hub, server, tmp_path):
    for _ in range(2):
        assert holds(build_model(name, 8, weights="pretrained").backbone, hub)
    assert server.statuses(TIMM) == [200]
    assert (tmp_path / "cache/timm--test_resnet.r160_in1k--model.safetensors").is_file()


def test_what_timm_itself_has_fetched_is_used_in_place(hub, server, tmp_path, monkeypatch):
    """The layout of huggingface_hub's cache."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "hf/hub/models--timm--test_resnet.r160_in1k"
    for path, content in {"refs/main": b"0123abcd", "snapshots/0123abcd/model.safetensors": server.files[TIMM]}.items():
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(content)
    assert holds(build_model("test_resnet", 8, weights="pretrained").backbone, hub)
    assert not server.requests and not (tmp_path / "cache").exists()


def test_a_published_file_of_another_network_is_an_error(hub, server):
    server.files[TIMM] = save({"conv1.weight": torch.ones(2, 2)})
    with pytest.raises(ValueError, match=r"does not fit this ResNet: \d+ missing .*; 1 unexpected \(conv1\.weight\)"):
        build_model("test_resnet", 8, weights="pretrained")


def test_without_a_network_the_error_says_what_to_do(server, monkeypatch):
    """Nobody listens at this port. The same holds, by name resolution, where there is no internet."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError) as error:
        build_model("resnet50.tv_in1k", 8, weights="pretrained")
    assert "http://127.0.0.1:9/timm/resnet50.tv_in1k/resolve/main/model.safetensors: " in str(error.value)
    assert "data/manual/timm--resnet50.tv_in1k--model.safetensors" in str(error.value)


OLD = {
    "vit_small_patch16_224_in21k": "vit_small_patch16_224.augreg_in21k",
    "vit_small_patch16_224_dino": "vit_small_patch16_224.dino",
    "tv_resnet50": "resnet50.tv_in1k",
}


@pytest.mark.parametrize("name", OLD)
def test_a_name_that_timm_has_given_up_means_the_weights_of_its_new_name(name, server):
    path = f"/timm/{OLD[name]}/resolve/main/model.safetensors"
    with pytest.raises(DownloadError) as error:
        build_model(name, 8, weights="pretrained")
    assert f"weights of {name} (which timm calls {OLD[name]} now) could not be fetched" in str(error.value)
    assert server.url + path in str(error.value)
    torch.manual_seed(1)
    state = dict(build_model(OLD[name], 8).backbone.state_dict())
    server.files[path] = save(state)
    assert holds(build_model(name, 8, weights="pretrained").backbone, state)


def test_every_name_that_timm_maps_leads_to_weights_or_says_why_not(server):
    """The repository of the new name; of a removed network, that it is removed."""
    known = get_deprecated_models()
    assert len(known) > 100
    published = set(timm.list_pretrained())
    for name, current in known.items():
        try:
            repository, *_ = weights._hugging_face(weights._current_name(name), name)
            assert repository and current, name
        except ValueError as error:
            assert f"timm has removed '{name}'" in str(error) if current is None else current not in published
            assert f"timm publishes no weights for '{name}'" in str(error) or current is None


def test_a_tag_that_timm_does_not_have_is_named(server):
    with pytest.raises(ValueError, match=r"no weights for 'resnet50\.nonsense': Invalid pretrained tag \(nonsense\)"):
        weights.fetch_weights("resnet50.nonsense")


def test_names_without_published_weights_are_said_to_be(server):
    with pytest.raises(ValueError, match=r"model\.weights: timm publishes no weights for 'resnet18d_nonsense'"):
        weights.fetch_weights("resnet18d_nonsense")
    with pytest.raises(ValueError, match=r"model\.weights: timm publishes no weights for 'convnext_atto_rms'"):
        build_model("convnext_atto_rms", 8, weights="pretrained")
