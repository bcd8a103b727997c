"""What the Triton kernel must agree on with the double loop, on any device; run as a script, under the interpreter.

TRITON_INTERPRET has to be set before the kernel is imported, so the tests start this file in a process of its own.
"""

import warnings

import torch

from pfml.losses.field import field_triton
from pfml.losses.field.contrastive_field import ContrastiveFieldLoss
from pfml.losses.field.potential_field import PotentialFieldLoss
from tests.losses.scenes import scene
from tests.oracles.field import assert_agrees, power_law, quadratic_law, random_batch, zero_law

DELTA, DELTA_REP = 0.2, 0.5
METHODS = {
    "alpha 3": ({"alpha": 3.0}, power_law(3.0, DELTA, DELTA_REP)),
    "alpha 0.5": ({"alpha": 0.5}, power_law(0.5, DELTA, DELTA_REP)),
    "alpha 8": ({"alpha": 8.0}, power_law(8.0, DELTA, DELTA_REP)),
    "log": ({"alpha": 0.0}, zero_law("log", DELTA, DELTA_REP)),
    "linear": ({"alpha": 0.0, "alpha_zero": "linear"}, zero_law("linear", DELTA, DELTA_REP)),
    "hinge": ({"repulsion": "squared_hinge"}, quadratic_law("squared_hinge", DELTA, DELTA_REP)),
    "mirror": ({"repulsion": "mirror"}, quadratic_law("mirror", DELTA, DELTA_REP)),
}
KINDS = ("cone", "cloud", "tight", "merged")


def build(method: str, classes: int, dim: int, proxies: int, **options):
    settings, law = METHODS[method]
    kind = ContrastiveFieldLoss if "repulsion" in settings else PotentialFieldLoss
    return kind(classes, dim, proxies, delta=DELTA, delta_rep=DELTA_REP, **settings, **options), law


def scene_case(device: str, method: str, kind: str, dim: int = 8, batch: int = 12, proxies: int = 4) -> None:
    embeddings, labels, start = scene(kind, dim, 4, proxies, batch)
    loss, law = build(method, 4, dim, proxies)
    loss.proxies.data = start
    check(loss, embeddings, labels, law, device)


def option_case(device: str, **options) -> None:
    embeddings, labels, start = scene("cone")
    loss, law = build("alpha 3", 6, 8, 4, **options)
    loss.proxies.data = torch.cat([start, start[:2] + 0.3])
    checked = {key: value for key, value in options.items() if key != "reduction"}
    check(loss, embeddings, labels, law, device, **checked)


def duplicates_case(device: str, seed: int) -> None:
    embeddings, labels, axis = random_batch(seed, 20, 16, 5, spread=0.3, duplicates=True)
    loss, law = build("alpha 3", 5, 16, 3)
    loss.proxies.data = (axis + 0.2 * loss.proxies.data / 4).view(5, 3, 16)
    check(loss, embeddings, labels, law, device)


def check(loss, embeddings, labels, law, device, **options) -> None:
    calls, add = [], field_triton.add_field

    def counted(*arguments):
        calls.append(arguments)
        return add(*arguments)

    field_triton.add_field = counted
    try:
        warnings.simplefilter("error", RuntimeWarning)  # a kernel that fails is replaced, with a warning
        assert_agrees(loss.to(device), embeddings.to(device), labels.to(device), law, **options)
    finally:
        field_triton.add_field = add
    assert calls, "the kernel was not used"


OPTIONS = (
    {"proxy_proxy": "none"},
    {"proxy_proxy": "repulsion"},
    {"absent_proxies": False},
    {"normalize_proxies": False},
)


def main() -> None:
    assert field_triton.INTERPRETED
    for method in METHODS:
        for kind in KINDS:
            scene_case("cpu", method, kind)
    scene_case("cpu", "alpha 3", "cone", dim=5, batch=40, proxies=7)  # several programs and tiles, D no power of 2
    scene_case("cpu", "alpha 3", "tight", dim=70, batch=33, proxies=0)
    for options in OPTIONS:
        option_case("cpu", **options)
    for seed in range(3):
        duplicates_case("cpu", seed)
    print("agreed")


if __name__ == "__main__":
    main()
