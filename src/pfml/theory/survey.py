"""Try the two statements on random cases; one row per check, with the shares of cases in which the statement holds."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from pfml.theory.corollary import SETTINGS, compare
from pfml.theory.fields import DecayingLaw, GrowingLaw
from pfml.theory.proposition import (
    disjoint,
    guaranteed,
    guaranteed_radius,
    has_minimum,
    nearest_distance,
    radial_radius,
    surface_slope,
)
from pfml.theory.rest import unit

LINES = 16  # random radial lines through each embedding
SMALL = 225  # embeddings times proxies; a case of Corollary 1 up to this size is cheap and gets more draws
NO_PROXIES = {"proxies": 0, "start": 0.0}  # for Proposition 1

# Column -> meaning, in the order of theory.csv.
COLUMNS = {
    "statement": "what was tried",
    "field": "whose field (Corollary 1 compares both)",
    "setting": "absolute or relative (to the nearest-neighbour distance) δ; fixed, sphere or mutual, see Corollary 1",
    "change": "what sets the case apart from the base case",
    "draws": "random sets of the case",
    "embeddings": "n", "proxies": "M (0: none needed)", "dimension": "D",
    "groups": "of embeddings, with centres of length about 1",
    "spread": "root mean square distance of an embedding from its group's centre",
    "start": "root mean square length of a proxy at the start",
    "alpha": "α", "delta": "δ",
    "nearest": "median nearest-neighbour distance of a set",
    "guaranteed_radius": "largest δ at which the closed form holds, in all sets, in nearest-neighbour distances",
    "radial_radius": "the same, found by trying the hardest directions (0.5 at most)",
    "guaranteed": "share of embeddings for which the closed form holds",
    "lines": "share of random radial lines that have a minimum at the ball's surface; the proof says nothing of these",
    "minimum": "share of embeddings with a minimum of the whole field in their ball",
    "alone": "share whose minimum is in no other ball",
    "every": "share of sets whose embeddings all have a minimum",
    "at_most_one": "share of sets of which at most one embedding has",
    "disjoint": "share of sets whose balls do not meet",
    "at_most_one_disjoint": "at_most_one among these sets",
    "at_most_one_meeting": "at_most_one among the others",
    "w2_pfml": "mean W2, PFML", "w2_pfml_error": "its standard error",
    "w2_cpml": "mean W2, CPML", "w2_cpml_error": "its standard error",
    "lower": "share of draws in which PFML's W2 is lower by over 1 %",
    "lower_from": "its 95 % interval (Wilson), from", "lower_to": "to",
    "higher": "share of draws in which it is higher by over 1 %",
    "higher_from": "its 95 % interval, from", "higher_to": "to",
    "bound": "share of draws with W2 ≤ δ under PFML",
    "together_pfml": "share of proxies at a place that is another's already (joined by steps of δ/10), PFML",
    "together_fine": "the same with δ/40", "together_coarse": "the same with δ/5",
    "together_cpml": "together_pfml for CPML",
    "near_pfml": "share of proxies within δ of an embedding, PFML", "near_cpml": "the same, CPML",
    "rest_pfml": "share of proxies at equilibrium (of the first 10 draws), PFML", "rest_cpml": "the same, CPML",
    "mean_distance": "mean distance of CPML's proxies from the mean of the embeddings",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Case:
    """Distribution of one class's embeddings and proxies, and its field. An embedding has a length of about 1."""

    embeddings: int  # n
    proxies: int  # M
    dimension: int  # D
    groups: int  # embeddings are shared out evenly among this many centres, drawn from N(0, 1/D): length about 1
    spread: float  # root mean square distance of an embedding from its group's centre
    start: float  # root mean square length of a proxy at the start, drawn from N(0, start^2 / D)
    alpha: float
    delta: float

    def draw(self, sets: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings (sets, n, D) and proxies at the start (sets, M, D)."""
        scale = self.dimension**-0.5
        centers = scale * rng.normal(size=(sets, self.groups, self.dimension))
        noise = self.spread * scale * rng.normal(size=(sets, self.embeddings, self.dimension))
        proxies = self.start * scale * rng.normal(size=(sets, self.proxies, self.dimension))
        return centers[:, np.arange(self.embeddings) % self.groups] + noise, proxies


def survey(
    base: Case,
    changes: Sequence[dict],
    radii: Sequence[float],
    alphas: Sequence[float],
    sets: int,
    trials: int,
    trials_small: int,
    seed: int,
) -> Iterator[dict]:
    """All rows of the survey. Checks that a change leaves equal are not repeated.

    Proposition 1 is tried on `sets` draws of `base` and of each change to it, and of `base` at each of `alphas` and
    `radii` (delta in units of a set's nearest-neighbour distance). Corollary 1 is tried on `trials` draws
    (`trials_small` if embeddings and proxies are few, see SMALL; half as many in the setting `mutual`). Every case
    starts from the same seed, so that an additional case changes no other.
    """
    cases = [(change, replace(base, **change)) for change in ({}, *changes)]
    seen = set()
    for change, case in cases:
        case = replace(case, **NO_PROXIES)
        if case.embeddings > 1 and case not in seen:
            seen.add(case)
            yield from proposition_rows(change, case, sets, seed)
    for alpha in alphas:
        for radius in radii:
            yield relative_row(replace(base, **NO_PROXIES, alpha=alpha, delta=radius), sets, seed)
    for change, case in cases:
        for setting in SETTINGS:
            tried = (setting, case if setting == "fixed" else replace(case, start=1.0))
            if tried not in seen:
                seen.add(tried)
                draws = trials_small if case.embeddings * case.proxies <= SMALL else trials
                draws = (draws + 1) // 2 if setting == "mutual" else draws
                yield corollary_row(setting, change, case, draws, seed)


def proposition_rows(change: dict, case: Case, sets: int, seed: int) -> Iterator[dict]:
    """A row for PFML and one for CPML; COLUMNS explains their columns.

    A random radial line counts for `lines` if the potential rises outward at both ends of the ball.
    """
    rng = np.random.default_rng(seed)
    drawn, _ = case.draw(sets, rng)
    lines = unit(rng.normal(size=(*drawn.shape[:2], LINES, case.dimension)))
    for field, law in (("pfml", DecayingLaw(case.alpha, case.delta)), ("cpml", GrowingLaw(case.delta))):
        both = (surface_slope(drawn, law, lines) > 0) & (surface_slope(drawn, law, -lines) > 0)
        row = _row("proposition 1", field, "absolute", change, case, sets)
        row |= _minima(drawn, law, rng) | {"lines": both.mean()}
        if field == "pfml":
            row |= {
                "guaranteed": guaranteed(drawn, law).mean(),
                "nearest": np.median(nearest_distance(drawn)),
                "guaranteed_radius": guaranteed_radius(drawn, case.alpha).min(),
                "radial_radius": radial_radius(drawn, case.alpha).min(),
            }
        yield row


def relative_row(case: Case, sets: int, seed: int) -> dict:
    """A row for PFML with `case.delta` in units of each set's nearest-neighbour distance, as in `proposition_rows`."""
    rng = np.random.default_rng(seed)
    drawn, _ = case.draw(sets, rng)
    drawn = drawn / nearest_distance(drawn)[:, None, None]
    law = DecayingLaw(case.alpha, case.delta)
    change = {"alpha": case.alpha, "delta": case.delta}
    row = _row("proposition 1", "pfml", "relative", change, case, sets)
    return row | _minima(drawn, law, rng) | {"guaranteed": guaranteed(drawn, law).mean()}


def corollary_row(setting: str, change: dict, case: Case, trials: int, seed: int) -> dict:
    """Means of the measures of `compare` over `trials` draws, standard errors `w2_*_error` of the mean W2, and Wilson's
    95 % intervals `*_from`, `*_to` of the shares `lower` and `higher`."""
    points, starts = case.draw(trials, np.random.default_rng(seed))
    if setting != "fixed":
        points, starts = unit(points), unit(starts)
    measures = compare(starts, points, DecayingLaw(case.alpha, case.delta), setting)
    row = _row("corollary 1", "both", setting, change, case, trials) | {k: v.mean() for k, v in measures.items()}
    for key in ("w2_pfml", "w2_cpml"):
        row[f"{key}_error"] = measures[key].std(ddof=1) / trials**0.5 if trials > 1 else np.inf
    for key in ("lower", "higher"):
        row[f"{key}_from"], row[f"{key}_to"] = wilson(int(measures[key].sum()), trials)
    return row


def wilson(count: int, draws: int) -> tuple[float, float]:
    """Wilson's 95 % interval for a share, from `count` hits among `draws`."""
    share, z2 = count / draws, 1.96**2
    middle = share + z2 / (2 * draws)
    half = (z2 * (share * (1 - share) / draws + z2 / (4 * draws**2))) ** 0.5
    low, high = ((middle + sign * half) / (1 + z2 / draws) for sign in (-1, 1))
    return (0.0 if count == 0 else low), (1.0 if count == draws else high)


def _minima(drawn: np.ndarray, law, rng) -> dict:
    minimum, alone = has_minimum(drawn, law, rng)
    apart, few = disjoint(drawn, law), minimum.sum(-1) <= 1
    shares = {
        "minimum": minimum.mean(),
        "alone": alone.mean(),
        "every": minimum.all(-1).mean(),
        "at_most_one": few.mean(),
        "disjoint": apart.mean(),
    }
    parts = (("at_most_one_disjoint", few[apart]), ("at_most_one_meeting", few[~apart]))
    return shares | {key: values.mean() for key, values in parts if len(values)}


def _row(statement: str, field: str, setting: str, change: dict, case: Case, draws: int) -> dict:
    changed = " ".join(f"{key}={value:g}" for key, value in change.items())
    return {"statement": statement, "field": field, "setting": setting, "change": changed, "draws": draws,
            **asdict(case)}  # fmt: skip
