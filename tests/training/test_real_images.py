"""Training and measuring on real images: handwritten characters of Omniglot, classes that training never saw.

Reads the folder named by PFML_REAL_DATA (data/omniglot/omniglot_105.npz in it); skipped where that is unset.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pfml.labels.noise import corrupt_labels
from pfml.retrieval import retrieval_metrics
from pfml.settings.load import load_params
from pfml.settings.runs import find_run, grid_runs
from pfml.training.batches.pictures import TensorPictures
from pfml.training.batches.run_data import Half, RunData
from pfml.training.batches.transforms import TRANSFORMS
from pfml.training.loop import train
from pfml.training.measure import embed
from pfml.training.networks.model import build_model
from pfml.wasserstein import proxy_wasserstein
from tests.conftest import REAL, needs_real

pytestmark = needs_real
TRAIN_CLASSES, TEST_CLASSES = 60, 40


@pytest.fixture(scope="module")
def omniglot():
    file = np.load(Path(REAL, "data/omniglot/omniglot_105.npz"))
    # Every 16th of the 1,623 characters, so that several alphabets take part; the last ones are unseen in training.
    classes = np.arange(0, 1623, 16)[: TRAIN_CLASSES + TEST_CLASSES]
    rows = np.flatnonzero(np.isin(file["label"], classes))
    ink = np.unpackbits(file["images"][rows], axis=1)[:, : 105 * 105].reshape(-1, 35, 3, 35, 3).mean((2, 4))
    images = torch.from_numpy((255 * ink).astype(np.uint8))[:, None].expand(-1, 3, -1, -1)
    labels = torch.from_numpy(np.searchsorted(classes, file["label"][rows]).astype(np.int64))
    seen = labels < TRAIN_CLASSES

    def half(rows, first):
        return Half(TensorPictures(images[rows], TRANSFORMS["shift"], 3), labels[rows] - first)

    return half(seen, 0), half(~seen, TRAIN_CLASSES)


@pytest.mark.parametrize("method", ["pfml", "pfml_tuned", "cpml", "proxy_anchor", "contrastive"])
def test_training_with_noisy_labels_improves_retrieval_of_unseen_characters(raw, write, omniglot, method):
    raw["train"] |= {"epochs": 4, "steps_per_epoch": 20, "eval_every": 4}
    run = find_run(grid_runs(load_params(write(raw))), f"glyphs-{method}-0.2-0")
    known, unseen = omniglot
    noisy, mask = corrupt_labels(known.labels.numpy(), run.noise, run.seed, TRAIN_CLASSES)
    assert mask.sum() == round(0.2 * len(known.labels))
    data = RunData(replace(known, labels=torch.from_numpy(noisy)), unseen, None, TRAIN_CLASSES)
    torch.manual_seed(run.seed)
    untrained = retrieval_metrics(embed(build_model(**run.model), unseen.pictures), unseen.labels)
    trained = train(run, data)
    measured = retrieval_metrics(embed(trained.model, unseen.pictures), unseen.labels)
    assert measured["map@r"] > 1.3 * untrained["map@r"] and measured["recall@1"] > untrained["recall@1"]
    assert trained.history[-1]["recall@1"] == pytest.approx(measured["recall@1"])
    proxies = getattr(trained.loss, "proxies", None)
    if proxies is not None:
        unit = torch.nn.functional.normalize
        embeddings = unit(embed(trained.model, known.pictures), dim=1)
        w2 = proxy_wasserstein(unit(proxies.detach(), dim=2).numpy(), embeddings.numpy(), noisy)
        assert 0 < w2 < 2
