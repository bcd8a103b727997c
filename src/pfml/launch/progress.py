"""What the runs of a grid print, as one table that is drawn again, or as lines where nobody watches."""

import re
import sys
import time

EPOCH = re.compile(r"epoch\s+(\d+)/(\d+)\s+loss (\S+)(?:\s+R@1\s+([\d.]+) %)?.*?(\d+) s left")


class Progress:
    """A context; `line` takes what a run printed.

    Args:
        total: number of runs.
    """

    def __init__(self, total: int):
        self.total, self.rows, self.live, self.started = total, {}, None, time.monotonic()

    def __enter__(self) -> "Progress":
        if sys.stdout.isatty():
            from rich.live import Live

            self.live = Live(self.table(), refresh_per_second=2, transient=False)
            self.live.start()
        return self

    def __exit__(self, *_) -> None:
        if self.live:
            self.live.stop()

    def line(self, name: str, node: str, text: str) -> None:
        """Take a line of a run."""
        if not (found := EPOCH.search(text)):
            return
        epoch, epochs, loss, recall, left = found.groups()
        before = self.rows.get(name, {})
        self.rows[name] = {
            "node": node, "epoch": f"{epoch}/{epochs}", "loss": loss, "left": f"{left} s",
            "R@1": f"{recall} %" if recall else before.get("R@1", ""),
        }  # fmt: skip
        if self.live:
            self.live.update(self.table())
        else:
            print(f"{node}: {text}", flush=True)

    def table(self):
        """The runs that have begun, as a table of rich."""
        from rich.table import Table

        table = Table(title=f"{len(self.rows)} of {self.total} runs begun, {time.monotonic() - self.started:.0f} s")
        for column in ("run", "epoch", "loss", "R@1", "left", "node"):
            table.add_column(column)
        for name, row in self.rows.items():
            table.add_row(name, *(row[column] for column in ("epoch", "loss", "R@1", "left", "node")))
        return table
