"""What the presets must come to: networks, losses, rates, and what a preset leaves to params.yaml."""

import copy

import pytest

from tests.conftest import merge as put

DATASETS = {"cub200": "CUB-200-2011", "cars196": "Cars-196", "sop": "Stanford Online Products"}
OWN_NETWORKS = ("conv3", "conv4", "bn_inception")  # all others are timm's

# What the paper and the code that it follows say, beside what a preset says: see docs/presets.md.
NETWORK = {  # backbone, its image preset, dimensions, batch, lr, proxy_lr
    "resnet50": ("resnet50.tv_in1k", "proxy_anchor", 512, 100, 1e-4, 0.01),
    "noise": ("resnet50.tv_in1k", "proxy_anchor", 512, 100, 1e-4, 0.01),
    "64d": ("resnet50.tv_in1k", "proxy_anchor", 64, 100, 1e-4, 0.01),
    "bninception": ("bn_inception", "bn_inception", 512, 180, 1e-4, 0.01),
    "vit": ("vit_small_patch16_224.augreg_in21k_ft_in1k", "vit", 384, 100, 3e-5, 3e-3),
    "dino": ("vit_small_patch16_224.dino", "dino", 384, 100, 1e-5, 1e-3),
}
NAMES = sorted({f"{d}-{n}" for d in DATASETS for n in NETWORK} - {"sop-noise"})  # Table 2 has no SOP
MLRC = ["mlrc-cars196", "mlrc-cub200", "mlrc-glyphs"]  # tests/settings/test_mlrc_presets.py
PUBLISHED_NETWORK = {"noise": "resnet50", "64d": "resnet50"}
FIELD = {
    "delta": 0.2, "delta_rep": None, "reduction": "sum", "proxy_init": "data", "proxy_proxy": "all",
    "normalize_proxies": True, "absent_proxies": True,
}  # fmt: skip
SETTINGS = {
    "pfml": FIELD | {"alpha": 3.0, "alpha_zero": "log"},
    "cpml": FIELD | {"repulsion": "squared_hinge"},
    "proxy_anchor": {"margin": 0.1, "scale": 32.0},
    "proxy_nca": {"scale": 32.0},
    "soft_triple": {"scale": 20.0, "gamma": 0.1, "margin": 0.01, "tau": 0.2},
    "multi_similarity": {"alpha": 2.0, "beta": 50.0, "base": 0.5, "epsilon": 0.1},
    "triplet": {"margin": 0.1, "mining": "semihard"},  # Table 2; Table 4: TensorFlow's
    "hist": {"hidden": 512, "lambda_s": 1.0},
    "hyp": {"c": 0.1, "temperature": 0.2, "clip": 2.3},
    "hier": {
        "hierarchy": 512, "tau": 0.1, "margin": 0.1, "topk": 20, "triplets": 50, "c": 0.1, "clip": 2.3, "lambda1": 1.0,
        "lambda2": 0.5, "anchor_margin": 0.1, "anchor_scale": 32.0,
    },
    "esphn": {"temperature": 0.1, "mining": "semihard"},
    "normalized_softmax": {"temperature": 0.05},
    "proxy_nca_pp": {"temperature": pytest.approx(1 / 9)},
    "ms_das": {
        "alpha": 2.0, "beta": 40.0, "base": 0.5, "epsilon": 0.1, "produced": 3, "scaled": 8, "bank": 10,
    },
    "circle": {"margin": 0.4, "scale": 80.0},
    "proxy_gml": {"ratio": 0.05},
    "lifted_structure": {"margin": 1.0, "normalize": False, "l2": 0.005},
    "n_pair": {"normalize": False, "l2": 0.01},
    "clustering": {"gamma": 1.0, "rounds": 5},
    "pa_niv": {"margin": 0.1, "scale": 32.0, "blocks": 5, "depth": 8, "width": 128, "clamp": 2.0},
    "diva": {
        "margin": 0.2, "beta": 1.2, "cutoff": 0.5, "upper_cutoff": 1.4, "temperature": 0.01, "average": 0.9,
        "average_buffers": False, "per_query": False, "boundary_rate": 0.5,
    },
    "dcml_mdw": {
        "reading": "composites", "margin": 0.2, "beta": 1.2, "cutoff": 0.5, "reinforce": 1.0, "boundary_rate": 0.5,
    },
    "drml_pa": {"margin": 0.2, "scale": 64.0, "whole": 10.0, "rebuild": 1.0, "paper": False},
    "htl": {"margin": 0.1, "levels": 16, "together": 5, "first_margin": 0.2, "warmup": 1},
}  # fmt: skip
# What differs by dataset, and the rates in units of the network's (hypergraph network, proxies without class, flow).
FINE = {"scale_low": 0.99, "scale_high": 1.01, "shift_scale": 0.01, "detach": True}
BY_DATASET = {
    "hist": {
        "cub200": {"tau": 32.0, "alpha": 1.1}, "cars196": {"tau": 32.0, "alpha": 0.9},
        "sop": {"tau": 16.0, "alpha": 2.0},
    },
    "ms_das": {
        "cub200": FINE, "cars196": FINE,
        "sop": {"scale_low": 0.5, "scale_high": 2.0, "shift_scale": 0.1, "detach": False},
    },
    "proxy_gml": {
        "cub200": {"proxies_per_class": 12, "weight": 0.3}, "cars196": {"proxies_per_class": 12, "weight": 0.3},
        "sop": {"proxies_per_class": 1, "weight": 0.0},
    },
    "pa_niv": {"cub200": {"weight": 0.0075}, "cars196": {"weight": 0.01}, "sop": {"weight": 0.3}},
    "diva": {
        "cub200": {"memory": 3360, "test_weight": 0.5}, "cars196": {"memory": 3360, "test_weight": 0.25},
        "sop": {"memory": 7840, "test_weight": 1.0},
    },
}  # fmt: skip
RATES = {
    "hist": ("hgnn_rate", {"cub200": 5, "cars196": 10, "sop": 10}),
    "hier": ("hierarchy_rate", {"cub200": 50, "cars196": 50, "sop": 50}),
    "pa_niv": ("flow_rate", {"cub200": 50, "cars196": 50, "sop": 1}),
    "diva": ("regressor_rate", {"cub200": 1, "cars196": 1, "sop": 1}),
}
DIVA = {  # weight of its three further losses, and of the separation; by dataset and network
    ("cub200", "resnet50"): (0.3, 1500.0), ("cub200", "bninception"): (0.1, 300.0),
    ("cars196", "resnet50"): (0.15, 100.0), ("cars196", "bninception"): (0.15, 100.0),
    ("sop", "resnet50"): (0.2, 150.0), ("sop", "bninception"): (0.1, 150.0),
}  # fmt: skip
IMAGES_PER_CLASS = {
    "n_pair": 2,
    "ms_das": 2,
    "esphn": 20,
    "diva": 2,
    "dcml_mdw": 2,
    "htl": 4,
}  # of the others that learn from pairs 5
ADAM_EPS = {"soft_triple": 0.01, "proxy_gml": 0.01}  # of their code
# Settings of `train` in params.yaml that presets leave as they are: off, or the default of every library.
LEFT = {
    "adam_eps": 1e-8, "momentum": 0.0, "decay_norms": True, "ema": 0.0, "compile": False, "sync_bn": False,
    "hold_out": False, "patience": 0, "deterministic": True, "portable": True, "head_lr": None,
}  # fmt: skip
UNREAD = {
    "step_epochs",
    "step_factor",
    "step_times",
    "crop_padding",
    "threads",
    "images_per_class",
}  # here, or without effect
# Another study's tuning, all over params.yaml.
TUNED = {
    "model": {"backbone": "resnet18", "weights": None, "embedding_dim": 3},
    "train": {
        "epochs": 3, "steps_per_epoch": 4, "batch": 200, "sampler": "m_per_class", "optimizer": "rmsprop", "lr": 0.5,
        "proxy_lr": 7.0, "weight_decay": 0.5, "warmup": 0.5, "frozen_epochs": 2, "freeze_bn": "statistics+affine",
        "schedule": "step", "clip_norm": 5.0, "clip_value": 5.0, "clip_proxies": True, "transform": "small",
        "precision": "float16", "eval_every": 3,
    },
    "loss": {"proxies_per_class": 3, "alpha": 6.0, "delta": 0.5, "proxy_init": "kaiming"},
}  # fmt: skip

ODD = {
    "reading": "composites",
    "mining": "semihard",
    "hierarchy": 2,
    "depth": 2,
    "normalize": True,
    "detach": True,
}  # where 1 is no valid value


def tuned_elsewhere(raw: dict) -> dict:
    """A params.yaml whose every setting was chosen for another dataset."""
    tuned = put(copy.deepcopy(raw), copy.deepcopy(TUNED))
    for group in ("field", "baseline"):
        for method in tuned[group].values():
            method["train"] = copy.deepcopy(TUNED["train"])
            method["loss"] = {key: ODD.get(key, 1) for key in method["loss"] if key != "repulsion"}
    for recipe in tuned["recipe"]:
        tuned["recipe"][recipe] = {"train": {"lr": 0.3, "ema": 0.5, "proxy_lr": 3.0}, "loss": {"delta": 0.7}}
    return tuned
