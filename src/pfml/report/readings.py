"""One-line readings of the tables, every word of them computed: ranks, gaps, and whether the paper's order holds."""

from collections.abc import Mapping, Sequence

from pfml.report.names import dataset_name, method_name
from pfml.report.published import paper
from pfml.report.results import Summary

FIELD_METHODS = ("pfml", "pfml_auto", "pfml_tuned", "cpml")  # the paper's own; every other method is a baseline


def ordinal(rank: int) -> str:
    ending = {1: "st", 2: "nd", 3: "rd"}.get(rank % 10, "th") if rank % 100 not in (11, 12, 13) else "th"
    return f"{rank}{ending}"


def smallest(values: Mapping[str, float], method: str) -> str:
    """`the smallest of 3`, `2nd smallest of 3`; equal values share the better place."""
    place = 1 + sum(value < values[method] for value in values.values())
    return f"{'the' if place == 1 else ordinal(place)} smallest of {len(values)}"


def means(row: Mapping[str, Summary]) -> dict[str, float]:
    return {method: summary.mean for method, summary in row.items() if summary.mean is not None}


def standing(row: Mapping[str, Summary], method: str, what: str = "R@1") -> str:
    """`PFML is 4th of 9 in R@1 (71.2 %), 3.0 points behind the best baseline, Proxy Anchor.` Row: fractions."""
    values = means(row)
    name = method_name(method)
    if method not in values:
        return f"{name} has no finished run yet, so nothing can be said of its rank."
    place = 1 + sum(value > values[method] for value in values.values())
    text = f"{name} is {ordinal(place)} of {len(values)} in {what} ({100 * values[method]:.1f} %)"
    baselines = {m: v for m, v in values.items() if m not in FIELD_METHODS}
    if not baselines:
        return text + "; no baseline is finished."
    best = max(baselines, key=baselines.get)
    gap = 100 * (values[method] - baselines[best])
    side = f"{abs(gap):.1f} points {'ahead of' if gap > 0 else 'behind'}" if abs(gap) >= 0.05 else "level with"
    return f"{text}, {side} the best baseline, {method_name(best)}."


def seeds_note(row: Mapping[str, Summary]) -> str:
    """How much the row's differences are worth, told from its number of seeds."""
    counts = {summary.n for summary in row.values() if summary.n}
    if not counts:
        return ""
    if max(counts) == 1:
        return "One seed each: how far a repeated run would fall from these numbers is not measured."
    spread = max(summary.std for summary in row.values() if summary.std is not None)
    return f"The largest standard deviation over seeds is {100 * spread:.1f} points."


def drops_of(clean: Mapping[str, Summary], noisy: Mapping[str, Summary]) -> dict[str, float]:
    """Method -> points of R@1 lost to noise, of the methods that have both."""
    before, after = means(clean), means(noisy)
    return {m: 100 * (before[m] - after[m]) for m in before if m in after}


def noise_drop(drops: Mapping[str, float], method: str) -> str:
    """Rank of a method's loss of R@1 through noise, smallest first."""
    if method not in drops:
        return f"{method_name(method)}'s drop needs a clean and a noisy run; one is missing."
    least = min(drops, key=drops.get)
    other = "" if least == method else f"; the smallest is {method_name(least)}'s, {drops[least]:.1f}"
    return f"{method_name(method)} loses {drops[method]:.1f} points to noise, {smallest(drops, method)}{other}."


def published_drops() -> dict[str, dict[str, float]]:
    """dataset -> method -> R@1 points lost at 20 % noise, of those that Table 1 (ResNet-50) and Table 2 share."""
    found = {}
    for dataset, noisy in paper.recalls(2).items():
        clean = paper.recalls(1)[dataset]
        found[dataset] = {m: clean[m] - value for m, value in noisy.items() if clean.get(m) is not None}
    return found


def w2_order(row: Mapping[str, Summary], what: str) -> str:
    """Rank of PFML's proxy distance (smaller is better), its ratio to SoftTriple's, its side of CPML's."""
    values = means(row)
    if "pfml" not in values:
        return f"{what}: no finished run of PFML yet."
    text = f"{what}: PFML's is {smallest(values, 'pfml')}"
    other = paper.statements(3)[0].other
    if other in values:
        text += f", {values['pfml'] / values[other]:.3f} of {method_name(other)}'s"
    if "cpml" in values:
        text += f", {'below' if values['pfml'] < values['cpml'] else 'not below'} CPML's"
    return text + "."


def published_w2() -> str:
    """What the paper says of Table 3 in words."""
    s = paper.statements(3)[0]
    return f"Published, on {dataset_name(s.dataset)}: {s.text} (ratio {s.value:.3f}); CPML's is higher (Corollary 1)."


def sweep_reading(points: Sequence[tuple[float, Summary]], default: float) -> str:
    """Best value and range of one ablation."""
    ours = {round(value, 6): 100 * s.mean for value, s in points if s.mean is not None}
    if len(ours) < 2:
        return f"{len(ours)} of {len(points)} points finished: nothing to compare yet."
    best = max(ours, key=ours.get)
    text = f"best at {best:g} ({ours[best]:.1f} %), range {max(ours.values()) - min(ours.values()):.1f} points"
    if round(default, 6) in ours:
        text += f"; the default {default:g} has {ours[round(default, 6)]:.1f} %"
    counts = sorted({s.n for _, s in points if s.n})
    if len(counts) > 1:
        text += f". Values of {counts[0]} to {counts[-1]} seeds stand side by side: a difference may be one of seeds"
    return text[0].upper() + text[1:] + "."
