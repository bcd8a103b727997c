"""Real ImageNet weights through model.weights, and the birds that their frozen features find.

Reads the folder named by PFML_REAL_DATA; skipped where that is unset.
"""

import csv
import io
import zipfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pfml.retrieval import retrieval_metrics
from pfml.training.networks.model import build_model
from tests.conftest import REAL, needs_real

pytestmark = needs_real
MOBILENET = "weights/mobilenetv2_100_imagenet/mobilenetv2_100_tf_in1k_int8deq.pth"
DENSENET = "weights/densenet169_imagenet/densenet169_keras_in1k_backbone.pth"


def test_densenet_loads_whole():
    model = build_model("densenet169", 128, weights=Path(REAL, DENSENET), pooling="avg+max")
    file = torch.load(Path(REAL, DENSENET), weights_only=True)
    assert all(torch.equal(value, file[name].to(value.dtype)) for name, value in model.backbone.state_dict().items())


@pytest.mark.long
def test_the_frozen_features_of_mobilenet_find_birds_of_their_kind():
    """The first 12 crops of each of 42 test species, 504 in all, squashed to 224: R@1 0.651 as measured when made."""
    options = {"weights": Path(REAL, MOBILENET), "backbone_options": {"pad_type": "same"}}
    model = build_model("mobilenetv2_100", 128, **options).eval()
    of_class = defaultdict(list)
    with zipfile.ZipFile(Path(REAL, "data/cub200_bbox227/cub200_bbox227_100cls.zip")) as archive:
        for row in csv.DictReader(io.TextIOWrapper(archive.open("labels.csv"))):
            if row["dml_split"] == "test":
                of_class[int(row["class_id"])].append(row["file"])
        chosen = [(label, name) for label in sorted(of_class) for name in sorted(of_class[label])[:12]]
        images = [Image.open(io.BytesIO(archive.read(name))).resize((224, 224)) for _, name in chosen]
    x = torch.from_numpy(np.stack([np.asarray(image) for image in images])).permute(0, 3, 1, 2)
    with torch.inference_mode():
        features = torch.cat([model.features(part.float().div(127.5).sub(1)) for part in x.split(63)])
    assert features.shape == (504, 1280)
    found = retrieval_metrics(features, torch.tensor([label for label, _ in chosen]), ks=(1,), backend="torch")
    assert found["recall@1"] == pytest.approx(0.651, abs=0.02)
