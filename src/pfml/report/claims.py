"""What the paper claims, judged on each dataset that has runs: an effect paired by seed and what it comes to.

docs/reports.md has the rules. R@1 and its differences are in percent points, of the last epoch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pfml.report.blocks import PAPER_NOISE
from pfml.report.intervals import NOT_RUN, Effect, above, below, both, effect, paired
from pfml.report.ledger import Sweep
from pfml.report.names import method_name
from pfml.report.pools import Pool, by_seed, condition, measures_of
from pfml.report.published import paper
from pfml.report.studies import Studies
from pfml.report.verdicts import TOLERANCE

SUBJECTS = ("pfml", "pfml_tuned")  # the paper's setting and the one that suits the dataset; no rivals of each other
RANGES = {"proxies_per_class": (5, 30), "delta": (0.1, 0.35)}  # plotted in Figure 3; M = 0 is another claim
OVERHEAD = 4.0  # percent
MIXED = "undecided: two readings of W2"  # studies of one dataset, measured by different settings of `wasserstein`
LENGTH = ("epochs", "steps_per_epoch", "transform")  # of train: shared by all methods within one study
CLAIMS = {
    "clean": "PFML is best on clean labels",
    "margin": "Its margin grows under label noise",
    "w2": "Its proxies are nearer to the data (W2) than every proxy method's",
    "w2_relative": "The same, relative to the embeddings' spread",
    "decay": "Decay helps: PFML above CPML, clean labels",
    "decay_noise": "Decay helps: PFML above CPML, noisy labels",
    "proxies_per_class": "It is insensitive to M from 5 to 30",
    "delta": "It is insensitive to δ from 0.1 to 0.35",
    "delta_gap": "δ_rep = δ is best",
    "overhead": f"It costs at most {OVERHEAD:g} % more time than ProxyNCA",
}


@dataclass(frozen=True)
class Evidence:
    """One claim on one dataset. found: the effect, None where a run is missing; detail: what stands behind it."""

    claim: str
    pool: Pool
    subject: str
    verdict: str
    found: Effect | None = None
    against: str = ""
    detail: str = ""


def claims_of(pool: Pool, studies: Studies, costs: Sequence[Evidence] = ()) -> list[Evidence]:
    """Every claim on one pool, in the order of CLAIMS; `costs` are those on time, from the stage that measures it."""
    found = []
    for own in [own for own in SUBJECTS if own == SUBJECTS[0] or pool.runs(own)]:
        found += [best_clean(pool, own), margin(pool, own)]
        found += [nearest(pool, own, key) for key in ("w2", "w2_relative")]
        found += [decay(pool, own, claim, noise) for claim, noise in (("decay", 0.0), ("decay_noise", PAPER_NOISE))]
    found += [insensitive(pool, axis, series(pool, axis, studies)) for axis in RANGES]
    found += [same_radius(pool, series(pool, "delta_gap", studies))]
    found += [cost for cost in costs if cost.pool.name == pool.name] or [Evidence("overhead", pool, "pfml", NOT_RUN)]
    return sorted(found, key=lambda e: list(CLAIMS).index(e.claim))


def best_clean(pool: Pool, own: str) -> Evidence:
    other = rival(pool, own, 0.0, "recall@1")
    return _judged("clean", pool, own, _gap(pool, own, other, 0.0), other, unlike(pool, (own, 0.0), (other, 0.0)))


def margin(pool: Pool, own: str) -> Evidence:
    """Growth of the margin over the best rival, each of its noise level; it is a margin only where it is above 0."""
    rivals = {noise: rival(pool, own, noise, "recall@1") for noise in (0.0, PAPER_NOISE)}
    clean, noisy = (_gap(pool, own, other, noise) for noise, other in rivals.items())
    grown, at_noise = effect(paired(noisy, clean)), effect(noisy)
    if grown is None:
        return Evidence("margin", pool, own, NOT_RUN)
    names = " and ".join(dict.fromkeys(method_name(other) for other in rivals.values()))
    detail = f"margin {effect(clean).mean:+.1f} clean, {at_noise.mean:+.1f} at {100 * PAPER_NOISE:g} % noise"
    rows = [(own, 0.0), (own, PAPER_NOISE), *((other, noise) for noise, other in rivals.items())]
    detail += "".join(f"; {text}" for text in [unlike(pool, *rows)] if text)
    return Evidence("margin", pool, own, both(above(grown), above(at_noise)), grown, names, detail)


def nearest(pool: Pool, own: str, key: str) -> Evidence:
    """W2 less that of the rival whose proxies are nearest; lower is better."""
    other = rival(pool, own, 0.0, key, highest=False)
    gaps = paired(pool.by_seed(own, 0.0, key), pool.by_seed(other, 0.0, key)) if other else {}
    measures = measures_of(pool.ledger.find_all([*pool.runs(own), *pool.runs(other)]))
    if len(measures) > 1:  # such distances are not to be compared, nor taken for seeds of one
        return Evidence(key, pool, own, MIXED)
    found, counts = effect(gaps), [pool.summary(m, 0.0, "proxies_per_class").mean for m in (own, other)]
    detail = "" if None in counts else f"M {counts[0]:g} and {counts[1]:g}"
    return Evidence(key, pool, own, below(found), found, method_name(other) if found else "", detail if found else "")


def decay(pool: Pool, own: str, claim: str, noise: float) -> Evidence:
    other = unlike(pool, (own, noise), ("cpml", noise))
    return _judged(claim, pool, own, _gap(pool, own, "cpml", noise), "cpml", other)


def insensitive(pool: Pool, axis: str, points: Mapping[float, dict]) -> Evidence:
    """The greatest fall from the default over the plotted range is no larger than the published one."""
    low, high = RANGES[axis]
    default, values = _default(points), {v: found for v, found in points.items() if low <= v <= high}
    falls = {v: paired(points[default], found) for v, found in values.items() if v != default} if points else {}
    falls = {v: fall for v, fall in falls.items() if fall}
    if not falls:
        return Evidence(axis, pool, "pfml", NOT_RUN)
    worst = max(falls, key=lambda v: effect(falls[v]).mean)
    found, allowed = effect(falls[worst]), max(TOLERANCE, published_fall(axis))
    detail = f"greatest fall from {default:g}, at {worst:g} of {len(falls)} other values; allowed {allowed:.1f}"
    return Evidence(axis, pool, "pfml", below(found, allowed), found, f"{worst:g}", detail)


def same_radius(pool: Pool, points: Mapping[float, dict]) -> Evidence:
    gaps = {v: paired(points[0.0], found) for v, found in points.items() if v > 0} if points.get(0.0) else {}
    gaps = {v: gap for v, gap in gaps.items() if gap}
    if not gaps:
        return Evidence("delta_gap", pool, "pfml", NOT_RUN)
    best = min(gaps, key=lambda v: effect(gaps[v]).mean)
    found = effect(gaps[best])
    detail = f"the best other of {len(gaps)} values, δ_rep = δ + {best:g}"
    return Evidence("delta_gap", pool, "pfml", above(found), found, f"δ + {best:g}", detail)


def rival(pool: Pool, own: str, noise: float, key: str, highest: bool = True) -> str:
    """The best other method over the seeds that it shares with `own`; "" where there is none. PFML with further
    settings is no other method.
    """
    mine, means = pool.by_seed(own, noise, key), {}
    for method in pool.methods:
        shared = [v for seed, v in pool.by_seed(method, noise, key).items() if seed in mine]
        if shared and pool.runs(method, noise)[0].loss_name != "pfml":
            means[method] = sum(shared) / len(shared)
    return (max if highest else min)(means, key=means.get, default="")


def series(pool: Pool, axis: str, studies: Studies) -> dict[float, dict]:
    """value -> R@1 (%) by seed along one axis on clean labels, the default first.

    Of the first study that has finished points, with the seeds that others have of the same configuration.
    """
    sweeps = [s for study in studies.every for s in study.sweeps if s.axis == axis and _same_place(pool, s)]
    first = next((s for s in sweeps if studies.ledger.find_all(s.runs)), None)
    if first is None:
        return {}
    points: dict[float, dict] = {float(first.default): {}}
    for sweep in sweeps:
        if condition(sweep.base[0]) == condition(first.base[0]):
            for value, runs in sweep.points():
                points.setdefault(value, {}).update(by_seed(studies.ledger, runs, "recall@1"))
    return {value: {seed: 100 * recall for seed, recall in found.items()} for value, found in points.items()}


def _default(points: Mapping[float, dict]) -> float | None:
    return next(iter(points), None)


def _same_place(pool: Pool, sweep: Sweep) -> bool:
    run = sweep.base[0]
    place = (run.dataset, run.backbone, run.dim, run.model["weights"])
    same = place == (pool.dataset, pool.backbone, pool.dim, pool.weights)
    return same and not run.train["hold_out"] and not run.noise


def _gap(pool: Pool, own: str, other: str, noise: float) -> dict[int, float]:
    """R@1 of `own` less that of `other`, in points, by seed."""
    gaps = paired(pool.by_seed(own, noise, "recall@1"), pool.by_seed(other, noise, "recall@1")) if other else {}
    return {seed: 100 * gap for seed, gap in gaps.items()}


def unlike(pool: Pool, *rows: tuple[str, float]) -> str:
    """What differs in the length of the trainings that are compared, as studies of different recipes may: `epochs 12
    and 100`; nothing where they are alike.
    """
    runs = [run for method, noise in rows for run in pool.runs(method, noise)[:1]]
    values = {key: list(dict.fromkeys(str(run.train[key]) for run in runs)) for key in LENGTH}
    return ", ".join(f"{key} {' and '.join(found)}" for key, found in values.items() if len(found) > 1)


def _judged(claim: str, pool: Pool, own: str, gaps: Mapping[int, float], other: str, detail: str = "") -> Evidence:
    found = effect(gaps)
    if not found:
        return Evidence(claim, pool, own, NOT_RUN)
    return Evidence(claim, pool, own, above(found), found, method_name(other), detail)


def published_fall(axis: str) -> float:
    """The greatest fall below the default's R@1 over the plotted range, in points, of both published datasets."""
    low, high = RANGES[axis]
    falls = []
    for dataset in ("cub200", "cars196"):
        curve = {p.at: p.value for p in paper.figure3(axis) if p.dataset == dataset}
        default = paper.published_value(1, key="pfml", dataset=dataset, backbone="resnet50", metric="recall@1")
        falls += [default - value for at, value in curve.items() if low <= at <= high]
    return max(falls)
