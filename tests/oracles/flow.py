"""PA+niV. Embeddings (B, D) of float64, labels (B,)."""

import numpy as np
import torch

from tests.oracles.proxies import proxy_anchor
from tests.oracles.vectors import unit


def pa_niv(embeddings, labels, proxies, flow, weight, margin, scale, clamp):
    """Roth et al., CVPR 2022: mean of exp(|z|^2 / 2 - log |det dz/dx|) + weight * Proxy Anchor, whose first
    mean is over images; z is the unit embedding x through the flow under the condition of its class's unit proxy.

    proxies (N, D); flow: see `through`.
    """
    density = 0
    for x, y in zip(unit(embeddings), labels.tolist()):
        z, log_det = through(flow, x, unit(proxies[y]), clamp)
        density = density + torch.exp(0.5 * (z**2).sum() - log_det)
    return density / len(labels) + weight * proxy_anchor(embeddings, labels, proxies, margin, scale, first="images")


def through(flow, x, condition, clamp):
    """GLOW coupling blocks (Kingma and Dhariwal, 2018) as FrEIA composes them: x (D,) under a condition (C,) -> z (D,)
    and log |det dz/dx|.

    A block permutes the axes (numpy's permutation of seed 0, 1, ...) and halves them; each half in turn is multiplied
    by e^s and moved by t, s = clamp * 0.636 atan(.), both from a perceptron of the other half and the condition.

    flow: with lists `to_first` and `to_second` of a perceptron for each block.
    """
    log_det, half = 0, round(len(x) / 2)
    for block, (to_first, to_second) in enumerate(zip(flow.to_first, flow.to_second)):
        x = x[torch.from_numpy(np.random.RandomState(block).permutation(len(x)))]
        a, b = x[:half], x[half:]
        s, t = scale_and_shift(to_first, b, condition, clamp)
        a, log_det = torch.exp(s) * a + t, log_det + s.sum()
        s, t = scale_and_shift(to_second, a, condition, clamp)
        b, log_det = torch.exp(s) * b + t, log_det + s.sum()
        x = torch.cat([a, b])
    return x, log_det


def scale_and_shift(layers, passive, condition, clamp):
    """s and t, of the length of the other half each: linear layers with ReLU between them."""
    x, linear = torch.cat([passive, condition]), [layer for layer in layers if hasattr(layer, "weight")]
    for number, layer in enumerate(linear):
        x = layer.weight @ x + layer.bias
        x = torch.where(x > 0, x, 0) if number + 1 < len(linear) else x
    scale, shift = x[: len(x) // 2], x[len(x) // 2 :]
    return clamp * 0.636 * torch.atan(scale), shift
