"""What the paper claims, judged on each dataset that has runs: an effect paired by seed and what it comes to.

docs/reports.md has the rules. R@1 and its differences are in percent points, of the last epoch. A pool is the rows of
one dataset and network (`groups.pools_of`).
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
from scipy.special import stdtrit

from pfml.report.groups import by_seed, kinds_of, place_name, summarize, sweeps_of, w2_readings
from pfml.report.names import method_name
from pfml.report.published import paper
from pfml.report.results import PLACE, Studies
from pfml.report.verdicts import NOT_RUN, TOLERANCE

LEVEL = 0.95
HOLDS, FAILS, OPEN, ONE_SEED = "holds", "does not hold", "undecided", "undecided: one seed"
PAPER_NOISE = 0.2  # of Table 2
SUBJECTS = ("pfml", "pfml_tuned")  # the paper's setting and the one that suits the dataset; they do not compete
RANGES = {"proxies_per_class": (5, 30), "delta": (0.1, 0.35)}  # plotted in Figure 3; M = 0 is another claim
OVERHEAD = 4.0  # percent
MIXED = "undecided: two readings of W2"  # studies of one dataset, measured by different settings of `wasserstein`
LENGTH = ("epochs", "steps_per_epoch", "transform")  # of train: shared by all methods within one study
CLAIMS = paper.CLAIMS  # name -> the claim in words, in the order of the report


@dataclass(frozen=True)
class Effect:
    """Mean of n paired differences with its interval at LEVEL; low and high are None with one pair."""

    mean: float
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Evidence:
    """One claim on one pool. found: the effect, None where a run is missing; detail: what stands behind it; kinds: of
    processors that trained the runs.
    """

    claim: str
    pool: str
    subject: str
    verdict: str
    found: Effect | None = None
    against: str = ""
    detail: str = ""
    kinds: frozenset[str] = frozenset()


def half_width(values: Sequence[float]) -> float | None:
    """Half of Student's t interval at LEVEL for the mean of some values; None below two."""
    n = len(values)
    return float(stdtrit(n - 1, (1 + LEVEL) / 2)) * statistics.stdev(values) / math.sqrt(n) if n > 1 else None


def effect(differences: Mapping[int, float]) -> Effect | None:
    """Of differences by seed; None without any."""
    values = list(differences.values())
    if not values:
        return None
    mean, half = statistics.fmean(values), half_width(values)
    return Effect(mean, *((None, None) if half is None else (mean - half, mean + half)), len(values))


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
    return next((word for word in (FAILS, NOT_RUN, ONE_SEED, OPEN) if word in verdicts), HOLDS)


def claims_of(pool: pd.DataFrame, studies: Studies, costs: Sequence[Evidence] = ()) -> list[Evidence]:
    """Every claim on one pool, in the order of CLAIMS; `costs` are those on time, from the table of seconds."""
    rows, name, found = ByMethod(pool), place_name(pool), []
    for own in [own for own in SUBJECTS if own == SUBJECTS[0] or len(rows.of(own))]:
        found += [higher("clean", rows, own, rows.rival(own, 0.0, "recall@1")), margin(rows, own)]
        found += [nearest(rows, own, key) for key in ("w2", "w2_relative")]
        found += [higher("decay", rows, own, "cpml"), higher("decay_noise", rows, own, "cpml", PAPER_NOISE)]
    found += [insensitive(name, axis, *series(pool, axis, studies)) for axis in RANGES]
    found += [same_radius(name, *series(pool, "delta_gap", studies))]
    found += [cost for cost in costs if cost.pool == name] or [Evidence("overhead", name, "pfml", NOT_RUN)]
    return sorted(found, key=lambda e: list(CLAIMS).index(e.claim))


class ByMethod:
    """The rows of a pool by method and noise, of clean labels and of uniform noise."""

    def __init__(self, pool: pd.DataFrame):
        usual = pool[pool.noise_kind.isin(["", "uniform"])]
        self.name, self.methods, self.none = place_name(pool), list(pool.method.unique()), pool[:0]
        self._groups = dict(iter(usual.groupby(["method", "noise"], sort=False)))

    def of(self, method: str, noise: float = 0.0) -> pd.DataFrame:
        return self._groups.get((method, noise), self.none)

    def gap(self, own: str, other: str, noise: float, key: str = "recall@1") -> dict[int, float]:
        """A measure of `own` less that of `other`, by seed; of R@1 in points."""
        gaps = paired(by_seed(self.of(own, noise), key), by_seed(self.of(other, noise), key))
        return {seed: 100 * gap for seed, gap in gaps.items()} if key == "recall@1" else gaps

    def rival(self, own: str, noise: float, key: str, highest: bool = True) -> str:
        """The best other method over the seeds that it shares with `own`; "" where there is none. PFML with further
        settings is no other method.
        """
        mine, means = by_seed(self.of(own, noise), key), {}
        for method in self.methods:
            rows = self.of(method, noise)
            shared = [value for seed, value in by_seed(rows, key).items() if seed in mine]
            if shared and rows.run.iloc[0].loss_name != "pfml":
                means[method] = sum(shared) / len(shared)
        return (max if highest else min)(means, key=means.get, default="")

    def kinds(self, *rows: tuple[str, float]) -> frozenset[str]:
        return frozenset().union(*(kinds_of(self.of(method, noise)) for method, noise in rows))

    def differs_in(self, *rows: tuple[str, float]) -> str:
        """How the lengths of trainings that are compared differ, as studies of different recipes may: `epochs 12 and
        100`; nothing where they do not.
        """
        runs = [run for method, noise in rows for run in self.of(method, noise).run[:1]]
        values = {key: list(dict.fromkeys(str(run.train.get(key)) for run in runs)) for key in LENGTH}
        return ", ".join(f"{key} {' and '.join(found)}" for key, found in values.items() if len(found) > 1)


def higher(claim: str, rows: ByMethod, own: str, other: str, noise: float = 0.0) -> Evidence:
    """R@1 of `own` above that of another method."""
    found = effect(rows.gap(own, other, noise))
    both = (own, noise), (other, noise)
    detail, kinds = rows.differs_in(*both), rows.kinds(*both)
    return Evidence(claim, rows.name, own, above(found), found, method_name(other), detail, kinds)


def margin(rows: ByMethod, own: str) -> Evidence:
    """Growth of the margin over the best rival, each of its noise level; it is a margin only where it is above 0."""
    rivals = {noise: rows.rival(own, noise, "recall@1") for noise in (0.0, PAPER_NOISE)}
    clean, noisy = (rows.gap(own, other, noise) for noise, other in rivals.items())
    grown, at_noise = effect(paired(noisy, clean)), effect(noisy)
    if grown is None:
        return Evidence("margin", rows.name, own, NOT_RUN)
    names = " and ".join(dict.fromkeys(method_name(other) for other in rivals.values()))
    detail = f"margin {effect(clean).mean:+.1f} clean, {at_noise.mean:+.1f} at {100 * PAPER_NOISE:g} % noise"
    used = [(own, 0.0), (own, PAPER_NOISE), *((other, noise) for noise, other in rivals.items())]
    other = rows.differs_in(*used)
    detail += f"; {other}" * bool(other)
    verdict = both(above(grown), above(at_noise))
    return Evidence("margin", rows.name, own, verdict, grown, names, detail, rows.kinds(*used))


def nearest(rows: ByMethod, own: str, key: str) -> Evidence:
    """W2 less that of the rival whose proxies are nearest; lower is better."""
    other = rows.rival(own, 0.0, key, highest=False)
    mine, theirs = rows.of(own), rows.of(other)
    if len(w2_readings(pd.concat([mine, theirs]))) > 1:  # such distances are not to be compared
        return Evidence(key, rows.name, own, MIXED)
    found = effect(rows.gap(own, other, 0.0, key))
    counts = [summarize(r, "proxies_per_class").mean for r in (mine, theirs)]
    detail = "" if None in counts else f"M {counts[0]:g} and {counts[1]:g}"
    kinds = rows.kinds((own, 0.0), (other, 0.0))
    return Evidence(key, rows.name, own, below(found), found, method_name(other), detail, kinds)


def series(pool: pd.DataFrame, axis: str, studies: Studies) -> tuple[dict[float, dict[int, float]], frozenset[str]]:
    """value -> R@1 (%) by seed along one axis on clean labels, the default first; and the kinds of processors.

    Of the setting with the most finished points, of equals the first; all studies that have it give their seeds.
    """
    place = pool.iloc[0][PLACE]
    sweeps = [(sweep, sweep.iloc[0]) for sweep in sweeps_of(studies, axis)]  # the first row has the default value
    sweeps = [(s, base) for s, base in sweeps if not base.hold_out and not base.noise and base[PLACE].equals(place)]
    finished: dict[str, set[str]] = {}
    for sweep, base in sweeps:
        own = sweep.digest[sweep.measured & (sweep.kind == "ablation")]
        finished.setdefault(base.condition, set()).update(own)
    most = max(finished, key=lambda condition: len(finished[condition]), default=None)
    if not finished.get(most):
        return {}, frozenset()
    alike = [sweep for sweep, base in sweeps if base.condition == most]
    points: dict[float, dict] = {alike[0].iloc[0].value: {}}
    for sweep in alike:
        for value, rows in sweep.drop_duplicates(["value", "digest"]).groupby("value"):
            found = by_seed(rows, "recall@1")
            points.setdefault(value, {}).update({seed: 100 * recall for seed, recall in found.items()})
    return points, frozenset().union(*map(kinds_of, alike))


def insensitive(pool: str, axis: str, points: Mapping[float, dict], kinds: frozenset[str]) -> Evidence:
    """The greatest fall from the default over the plotted range is no larger than the published one."""
    (low, high), default = RANGES[axis], next(iter(points), None)
    falls = {v: paired(points[default], found) for v, found in points.items() if low <= v <= high and v != default}
    falls = {v: effect(fall) for v, fall in falls.items() if fall}
    if not falls:
        return Evidence(axis, pool, "pfml", NOT_RUN)
    worst, allowed = max(falls, key=lambda v: falls[v].mean), max(TOLERANCE, published_fall(axis))
    detail = f"greatest fall from {default:g}, at {worst:g} of {len(falls)} other values; allowed {allowed:.1f}"
    return Evidence(axis, pool, "pfml", below(falls[worst], allowed), falls[worst], f"{worst:g}", detail, kinds)


def same_radius(pool: str, points: Mapping[float, dict], kinds: frozenset[str]) -> Evidence:
    gaps = {v: paired(points.get(0.0, {}), found) for v, found in points.items() if v > 0}
    gaps = {v: effect(gap) for v, gap in gaps.items() if gap}
    if not gaps:
        return Evidence("delta_gap", pool, "pfml", NOT_RUN)
    best = min(gaps, key=lambda v: gaps[v].mean)
    detail = f"the best other of {len(gaps)} values, δ_rep = δ + {best:g}"
    return Evidence("delta_gap", pool, "pfml", above(gaps[best]), gaps[best], f"δ + {best:g}", detail, kinds)


def published_fall(axis: str) -> float:
    """The greatest fall below the default's R@1 over the plotted range, in points, of both published datasets."""
    (low, high), falls = RANGES[axis], []
    for dataset, curve in paper.curves(axis).items():
        default = paper.recalls(1)[dataset]["pfml"]
        falls += [default - value for at, value in curve.items() if low <= at <= high]
    return max(falls)
