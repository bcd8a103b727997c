"""The search for PFML's settings: the score of every trial against each setting that moved, delta_rep first."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pfml.evaluation.trials import Trial, best
from pfml.figures.style import (
    BLACK,
    BLUE,
    GREEN,
    ORANGE,
    VERMILION,
    dataset_name,
    figure_style,
    new_figure,
    nothing,
    save_figure,
)

AXES = {"delta_rep": "$\\delta_{rep}$", "delta": "δ", "alpha": "α", "proxies_per_class": "M"}  # of loss, as drawn
REDUCTIONS = {"sum": (BLUE, "o"), "pair_mean": (GREEN, "^"), "anchor_mean": (ORANGE, "s")}


def search_figure(searches: Mapping[str, Sequence[Trial]], path: str | Path) -> None:
    """A row for each dataset, a panel for each setting. A trial is a point, its colour and marker the reduction of the
    loss; the first trial, of the published settings, is a star, the best one has a ring.

    Args:
        searches: dataset -> trials of a field method. A dataset whose trials do not move delta_rep is left out.
    """
    drawn = {name: trials for name, trials in searches.items() if "loss.delta_rep" in trials[0].settings}
    with figure_style():
        figure = new_figure(2.75 * len(AXES), 2.6 * max(len(drawn), 1) + 0.5)
        if not drawn:
            nothing(figure, "no search that moves delta_rep")
        rows = figure.subplots(len(drawn), len(AXES), sharey="row", squeeze=False) if drawn else []
        for panels, (dataset, trials) in zip(rows, drawn.items()):
            for axes, (name, symbol) in zip(panels, AXES.items()):
                _panel(axes, f"loss.{name}", trials)
                axes.set_xlabel(symbol)
            panels[-1].xaxis.get_major_locator().set_params(integer=True)
            panels[0].set(ylabel=f"{dataset_name(dataset)}: validation MAP@R (%)", title=finding(trials))
        if drawn:
            shown = dict(zip(*reversed(rows[0][0].get_legend_handles_labels())))
            figure.legend(shown.values(), shown.keys(), loc="outside lower center", ncols=len(shown))
        save_figure(figure, path)


def finding(trials: Sequence[Trial]) -> str:
    """`best 57.1 at delta_rep 0.62; published settings 38.8`, in percent."""
    top = best(trials)
    return (
        f"best {100 * top.score:.1f} at {AXES['delta_rep']} {top.settings['loss.delta_rep']:g}; "
        f"published settings {100 * trials[0].score:.1f}"
    )


def _panel(axes, key: str, trials: Sequence[Trial]) -> None:
    for trial in trials[1:]:
        reduction = trial.settings.get("loss.reduction", "sum")
        colour, marker = REDUCTIONS[reduction]
        axes.plot(trial.settings[key], 100 * trial.score, marker, color=colour, markeredgecolor="white",
                  markeredgewidth=0.5, label=f"reduction: {reduction}")  # fmt: skip
    start, top = trials[0], best(trials)
    axes.plot(start.settings[key], 100 * start.score, "*", color=BLACK, markersize=11, label="published settings")
    axes.plot(top.settings[key], 100 * top.score, "o", color="none", markeredgecolor=VERMILION, markeredgewidth=1.8,
              markersize=12, label="best trial")  # fmt: skip
