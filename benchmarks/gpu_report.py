"""The results of benchmarks/gpu.py as Markdown. What no line tells is "not measured", so that a gap is seen."""

import statistics
from collections import Counter
from datetime import date

from gpu_results import chosen

NOT = "not measured"
WAYS = ("random tensors on the device", "fast pack")
CHECKS = [
    (method, delta, noise)
    for method, delta in (("pfml", 0.2), ("proxy_anchor", None), ("multi_similarity", None), ("pfml", 0.35),
                          ("pfml", 0.1))
    for noise in (0.0, 0.2)
]  # fmt: skip
NAMES = {"pfml": "PFML", "proxy_anchor": "Proxy Anchor", "multi_similarity": "Multi-Similarity"}
INTRO = "Made by `make gpu` ([how](../docs/gpu.md)); where a cell says *not measured*, no GPU has run that part yet."


def table(head: tuple[str, ...], rows: list[tuple]) -> str:
    """A table; without rows one that says so."""
    rows = rows or [(NOT, *[""] * (len(head) - 1))]
    return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in (head, ["---"] * len(head), *rows))


def title(results: list[dict]) -> str:
    """The machine, for the foot of the section; empty if no machine has measured."""
    found = chosen(results, "machine", "facts")
    if not found:
        return ""
    facts = found[-1]
    device = f"{facts['gpu']}, {facts['memory_gb']:.0f} GB" if facts["gpu"] else f"no GPU but {facts['cpu']}"
    versions = ", ".join(f"{name} {facts[name]}" for name in ("python", "torch", "cuda", "cudnn", "triton", "timm"))
    start = chosen(results, "run", "start")
    commit = f"; commit {start[-1]['commit'][:7]}" if start and start[-1]["commit"] else ""
    return f"Measured {date.today()} on {device}; processor {facts['cpu']}, {facts['cores']} cores; {versions}{commit}."


def section(results: list[dict]) -> str:
    """The section "On a GPU" of reports/benchmarks.md, without its heading and foot."""
    parts = (_parts, _tests, _steps, _share, _peers, _memory, _rate, _retrieval, _bits, _check)
    return "\n\n".join([INTRO, *(part(results) for part in parts)])


def markdown(results: list[dict]) -> str:
    size = chosen(results, "run", "size")
    warning = "**A miniature on a CPU: it tries the path, its numbers say nothing.**\n\n"
    return f"# On a GPU\n\n{warning if size and size[-1]['miniature'] else ''}{section(results)}\n\n{title(results)}\n"


def _parts(results: list[dict]) -> str:
    """How every part ended, and why one did not."""
    rows, notes = [], []
    for entry in (entry for entry in results if entry["kind"] == "end"):
        rows.append((entry["part"], entry["outcome"], entry["seconds"]))
        if entry["error"]:
            notes.append(f"`{entry['part']}` failed:\n\n```text\n{entry['error']}\n```")
    for entry in (entry for entry in results if entry["kind"] == "left out"):
        notes.append(f"`{entry['part']}` had no time for: {entry['what']}.")
    for entry in chosen(results, "run", "stopped"):
        notes.append(f"The run was stopped ({entry['signal']}).")
    return "\n\n".join([table(("part", "end", "seconds"), rows), *notes])


def _tests(results: list[dict]) -> str:
    found = chosen(results, "tests", "test")
    counts = Counter(entry["outcome"] for entry in found)
    text = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or NOT
    lines = [f"Tests marked `gpu` (the Triton kernel against the double loop, pictures, ranks): {text}."]
    reasons = Counter(entry["reason"].splitlines()[-1] for entry in found if entry["reason"])
    lines += [f"- {count} times: {reason}" for reason, count in reasons.most_common(5)]
    if chosen(results, "tests", "interpreted"):
        lines.append("- One case of the kernel under Triton's interpreter: passed.")
    return "\n".join(lines)


def _steps(results: list[dict]) -> str:
    rows = [
        (entry["scene"], f"{entry['points']:,}", entry["dim"],
         f"{entry['eager_median_ms']:.2f}{' (scaled)' * entry['scaled']}",
         _number(entry.get("torch_median_ms"), ".2f"), f"{entry['fast_median_ms']:.2f}", f"{entry['first_ms']:.0f}",
         f"{entry['eager_median_ms'] / entry['fast_median_ms']:.1f}", _number(entry.get("eager_error"), ".0e"),
         _number(entry.get("fast_error"), ".0e"), _number(entry.get("fast_value_error"), ".0e"), entry["steps"])
        for entry in chosen(results, "loss", "step")
    ]  # fmt: skip
    head = ("scene", "points", "D", "eager ms", "torch ms", "kernel ms", "first ms", "eager / kernel",
            "eager gradient error", "kernel gradient error", "kernel value error", "n")  # fmt: skip
    text = ("### Loss\n\nForward and backward, float32, medians of n steps side by side. `torch` is the loss with "
            "PFML_TRITON=0. Errors: against eager autograd in float64.")  # fmt: skip
    notes = []
    for entry in chosen(results, "loss", "kernel"):
        state = "given up" if entry["given_up"] else "used to the end" if entry["uses"] else "not used"
        said = " ".join(entry["warnings"])
        notes.append(f"\n\nThe Triton kernel was {state} ({entry['uses']} sums). {said}".rstrip())
    return f"{text}\n\n{table(head, rows)}{''.join(notes)}"


def _share(results: list[dict]) -> str:
    rows = [
        (entry["proxies"], f"{entry['loss_ms']:.2f}", f"{1e3 * entry['network_s']:.1f}",
         f"{0.1 * entry['loss_ms'] / entry['network_s']:.1f}", entry["precision"], entry["steps"])
        for entry in chosen(results, "loss", "share")
    ]  # fmt: skip
    text = "Share of a ResNet-50's forward and backward of 100 images, 100 classes of M proxies; loss: mean of n steps."
    return f"{text}\n\n{table(('M', 'loss ms', 'ResNet-50 ms', 'loss / network %', 'network in', 'n'), rows)}"


def _peers(results: list[dict]) -> str:
    rows = [
        (entry["loss"], f"{entry['classes']:,}", entry["proxies"], f"{entry['ms']:.2f}", f"{entry['ratio']:.2f}",
         entry["steps"]) for entry in chosen(results, "loss", "peer")
    ]  # fmt: skip
    text = "Other losses (pytorch-metric-learning) on the settled scene, D 512, means; they sum over fewer pairs."
    return f"{text}\n\n{table(('loss', 'classes', 'M', 'ms', 'time / PFML', 'n'), rows)}"


def _memory(results: list[dict]) -> str:
    found = {(e["scene"], e["points"], e["way"]): e["gb"] for e in chosen(results, "loss", "memory")}
    scenes = dict.fromkeys((scene, points) for scene, points, _ in found)
    rows = [
        (scene, f"{points:,}", *(_number(found.get((scene, points, way)), ".3f") for way in ("eager", "fast")))
        for scene, points in scenes
    ]
    text = "Memory that a step adds at its peak, gradients included."
    return f"{text}\n\n{table(('scene', 'points', 'eager GB', 'ours GB'), rows)}"


def _rate(results: list[dict]) -> str:
    found, rows = chosen(results, "rate", "rate"), []
    for deterministic in (True, False):
        taken = {way: {e["turn"]: e for e in found if e["way"] == way and e["deterministic"] == deterministic}
                 for way in WAYS}  # fmt: skip
        for way, turns in taken.items():
            pairs = [turns[turn]["rate"] / taken[WAYS[0]][turn]["rate"] for turn in turns if turn in taken[WAYS[0]]]
            rates = [entry["rate"] for entry in turns.values()]
            if pairs:
                peak = _number(next(iter(turns.values()))["peak_gb"], ".1f")
                median, share = statistics.median(rates), 100 * statistics.median(pairs)
                spread = f"{min(rates):,.0f}–{max(rates):,.0f}"
                rows.append((way, deterministic, f"{median:,.0f}", spread, f"{share:.0f} %", peak, len(rates)))
    about = f"{found[0]['backbone']}, {found[0]['precision']}, batches of {found[0]['batch']}" if found else "ResNet-50"
    text = (f"### Training rate\n\nThe training loop, {about} at "
            f"{found[0]['side'] if found else 224} px with PFML; n epochs each, in turns.")  # fmt: skip
    rate = "pictures a second, median", "range", "share of random tensors"
    head = ("way", "train.deterministic", *rate, "peak GB", "n")
    return f"{text}\n\n{table(head, rows)}"


def _retrieval(results: list[dict]) -> str:
    rows = []
    for entry in chosen(results, "retrieval", "scene"):
        (bare, _), (ours, _) = entry["best"]["product"], entry["best"]["ours"]
        scores = (f"{100 * entry['metrics'][name]:.1f}" for name in ("recall@1", "recall@1000", "map@r"))
        times = f"{bare:.3f}", f"{ours:.3f}", f"{ours / bare:.2f}"
        peak = _number(entry["peak_gb"], ".2f")
        rows.append((entry["scene"], f"{entry['points']:,}", *scores, *times, peak, entry["repeats"]))
    head = ("scene", "points", "R@1 %", "R@1000 %", "MAP@R %", "product s", "measures s", "ratio", "peak GB", "best of")
    text = "### Retrieval measures\n\nD 512, the size of Stanford Online Products' test half, beside the bare product."
    notes = [
        f"\n\nThe processor's measures of `classes` are {'equal to the bit' if e['equal'] else 'NOT equal'}, "
        f"in {e['seconds']:.1f} s." for e in chosen(results, "retrieval", "cpu")
    ]  # fmt: skip
    return f"{text}\n\n{table(head, rows)}{''.join(notes)}"


def _bits(results: list[dict]) -> str:
    rows = [
        (e["precision"], e["deterministic"], "yes" if e["equal"] else f"no: {e['differing']} of {e['tensors']} tensors",
         f"{e['backbone']}, {e['steps']} steps", "; ".join(e["not_deterministic"]) or "–")
        for e in chosen(results, "bits", "equal")
    ]  # fmt: skip
    head = ("precision", "train.deterministic", "equal bits", "training", "kernels without a deterministic form")
    return f"### Equal bits\n\nTwo equal trainings with PFML on the device.\n\n{table(head, rows)}"


def _check(results: list[dict]) -> str:
    trained = chosen(results, "check", "trained")
    text = "### Fine-tuned check on crops of cars\n\n"
    if trained:
        one = trained[0]
        text += (
            f"**Partial data, comparable with nothing published**: box crops of half of Cars-196's training classes; "
            f"{one['train_images']} images of {one['train_classes']} classes train, {one['test_images']} of "
            f"{one['test_classes']} others are searched in. {one['epochs']} epochs, seed 0, nothing tuned; settings: "
            "preset cars196-noise with the changes of `benchmarks/gpu_check.py`. "
        )
    text += "R@1 / MAP@R in %, before training of the pooled features of the ImageNet network."
    networks = dict.fromkeys(e["backbone"] for e in chosen(results, "check", "before") + trained)
    rows = []
    for network in networks or ["tf_efficientnet_lite2", "densenet169"]:
        before = [e for e in chosen(results, "check", "before") if e["backbone"] == network]
        rows.append((network, "before training", "–", _scores(before), "", "", len(before) or ""))
        for method, delta, noise in CHECKS:
            done = [e for e in trained if (e["backbone"], e["method"], e["noise"], e.get("delta")) ==
                    (network, method, noise, delta)]  # fmt: skip
            name = NAMES[method] + (f", delta {delta}" if delta else "")
            last = done[-1] if done else {"seconds": None, "peak_gb": None}
            rows.append((network, name, f"{100 * noise:.0f} %", _scores(done), _number(last["seconds"], ".0f"),
                         _number(last["peak_gb"], ".1f"), len(done) or ""))  # fmt: skip
    return f"{text}\n\n{table(('network', 'method', 'label noise', 'R@1 / MAP@R', 'seconds', 'peak GB', 'n'), rows)}"


def _scores(found: list[dict]) -> str:
    return f"{100 * found[-1]['recall@1']:.1f} / {100 * found[-1]['map@r']:.1f}" if found else NOT


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)
