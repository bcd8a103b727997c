"""The field over a real network's embeddings of real birds (CUB-200-2011), at the paper's D = 512.

Reads the folder named by PFML_REAL_DATA; skipped where that is unset.
"""

import zipfile
from collections import defaultdict
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from pfml.losses import ContrastiveFieldLoss, PotentialFieldLoss
from pfml.retrieval import retrieval_metrics
from pfml.wasserstein import proxy_wasserstein
from tests.conftest import REAL, needs_real

pytestmark = needs_real
CLASSES, EACH = 36, 12


@pytest.fixture(scope="module")
def birds():
    """Features (n, 1280) of the first images of 36 species by an ImageNet MobileNetV2, and labels (n,)."""
    import timm

    network = timm.create_model("mobilenetv2_100", num_classes=0, pad_type="same").eval()
    weights = Path(REAL, "weights/mobilenetv2_100_imagenet/mobilenetv2_100_tf_in1k_int8deq.pth")
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    of_class = defaultdict(list)
    with zipfile.ZipFile(Path(REAL, "data/cub200_bbox227/cub200_bbox227_100cls.zip")) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".jpg")):
            of_class[name.split("/")[0]].append(name)
        chosen = [name for names in list(of_class.values())[:CLASSES] for name in names[:EACH]]
        images = np.stack([np.asarray(Image.open(BytesIO(archive.read(name))).resize((128, 128))) for name in chosen])
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float().div(127.5).sub(1)
    with torch.no_grad():
        features = torch.cat([network(part) for part in x.split(96)])
    return normalize(features, dim=1), torch.arange(CLASSES).repeat_interleave(EACH)


def eager_energy(loss, embeddings, proxies, labels):
    """Eq. 6 in excess form over a full float64 distance matrix."""
    points = normalize(torch.cat([embeddings, proxies.flatten(0, 1)]).double(), dim=1)
    classes = torch.cat([labels, torch.arange(loss.num_classes).repeat_interleave(loss.proxies_per_class)])
    d = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    law = loss.law
    if isinstance(loss, PotentialFieldLoss):
        pull = law.delta**-law.alpha - d.clamp(min=law.delta) ** -law.alpha
        push = d.clamp(law.eps, law.delta_rep) ** -law.alpha - law.delta_rep**-law.alpha
    else:
        pull = d.clamp(min=law.delta) ** 2 - law.delta**2
        push = (law.delta_rep - d.clamp(min=law.eps)).clamp(min=0) ** 2
    same = classes[:, None] == classes[None]
    return torch.where(same, pull, push).fill_diagonal_(0).sum()


@pytest.mark.parametrize("method", [PotentialFieldLoss, ContrastiveFieldLoss])
def test_a_head_trained_on_birds(birds, method):
    """Value and gradient are exact at every tenth step; energy falls, birds find their kind, proxies stay with them."""
    torch.manual_seed(0)
    features, labels = birds
    head = torch.nn.Linear(1280, 512, bias=False)
    loss = method(CLASSES, 512, 15, proxy_init="data")
    loss.initialize_proxies(head(features), labels)
    before = retrieval_metrics(head(features).detach(), labels)
    groups = [{"params": head.parameters(), "lr": 1e-3}, {"params": loss.parameters(), "lr": 1e-2}]
    optimizer = torch.optim.Adam(groups)
    draw = torch.Generator().manual_seed(0)
    energies, listed = [], 0
    for step in range(61):
        batch = torch.randperm(len(labels), generator=draw)[:100]
        z = head(features[batch])
        energy = loss(z, labels[batch])
        if step % 10 == 0:
            leaves = z.detach().clone().requires_grad_(), loss.proxies.detach().clone().requires_grad_()
            exact = eager_energy(loss, *leaves, labels[batch])
            assert float(energy.detach()) == pytest.approx(float(exact.detach()), rel=1e-5)
            found = torch.autograd.grad(energy, (z, loss.proxies), retain_graph=True)
            for own, wanted in zip(found, torch.autograd.grad(exact, leaves)):
                assert (own - wanted).norm() <= 1e-5 * wanted.norm()
        optimizer.zero_grad()
        energy.backward()
        for group in optimizer.param_groups:
            torch.nn.utils.clip_grad_norm_(group["params"], 1.0)
        optimizer.step()
        energies.append(float(energy.detach()))
        listed += loss._memory.neighbours.reference is not None
    assert np.mean(energies[-5:]) < 0.8 * energies[0]
    assert listed > 0, "classes came apart, and the list of near pairs was never in use"
    embeddings, proxies = normalize(head(features).detach(), dim=1), normalize(loss.proxies.detach(), dim=2)
    assert retrieval_metrics(embeddings, labels)["map@r"] > 1.2 * before["map@r"]
    shuffled = embeddings[torch.randperm(len(embeddings), generator=draw)]
    own, other = (proxy_wasserstein(proxies[:, :10], e, labels) for e in (embeddings, shuffled))
    assert own < 0.8 * other
