"""Differences paired by seed, with Student's t interval, and what a claim about their sign comes to."""

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

LEVEL = 0.95
HOLDS, FAILS, OPEN, ONE_SEED, NOT_RUN = "holds", "does not hold", "undecided", "undecided: one seed", "not run"


@dataclass(frozen=True)
class Effect:
    """Mean of n paired differences with its interval at LEVEL; low and high are None with one pair."""

    mean: float
    low: float | None
    high: float | None
    n: int


def effect(differences: Mapping[int, float]) -> Effect | None:
    """Student's t over seeds; None without any."""
    values = list(differences.values())
    if not values:
        return None
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Effect(mean, None, None, 1)
    from scipy.stats import t

    half = t.ppf((1 + LEVEL) / 2, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return Effect(mean, mean - half, mean + half, len(values))


def paired(first: Mapping[int, float], second: Mapping[int, float]) -> dict[int, float]:
    """first - second of every seed that both have."""
    return {seed: first[seed] - second[seed] for seed in first if seed in second}


def above(found: Effect | None, bound: float = 0.0) -> str:
    """Whether the effect is above a bound: the whole interval decides, one seed decides nothing."""
    if found is None:
        return NOT_RUN
    if found.low is None:
        return ONE_SEED
    return HOLDS if found.low > bound else FAILS if found.high < bound else OPEN


def below(found: Effect | None, bound: float = 0.0) -> str:
    """As `above`, for an effect that is to be below the bound."""
    return {HOLDS: FAILS, FAILS: HOLDS}.get(word := above(found, bound), word)


def both(*verdicts: str) -> str:
    """The verdict of a claim that needs several: one that fails decides, then what is missing, then what is open."""
    for word in (FAILS, NOT_RUN, ONE_SEED, OPEN):
        if word in verdicts:
            return word
    return HOLDS
