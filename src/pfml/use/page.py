"""What a search found, as a table for the terminal and as one HTML page with the pictures inside."""

import base64
import html
import io
from collections.abc import Sequence
from pathlib import Path

from pfml.settings.files import write_whole
from pfml.use.pictures import opened

SIDE = 160  # pixels of the long side of a picture on the page
STYLE = (
    "body{font:14px sans-serif;margin:2em;background:#fff;color:#222}"
    "tr{vertical-align:top}td{padding:6px;text-align:center}td:first-child{border-right:2px solid #888}"
    "figure{margin:0}figcaption{max-width:170px;overflow-wrap:anywhere;color:#555}"
)


def table(queries: Sequence[str], found: Sequence[Sequence[tuple[str, float]]]) -> str:
    """A line for each query and neighbour: query, rank, cosine similarity, path; parted by tabs."""
    lines = ["query\trank\tsimilarity\tpath"]
    for query, neighbours in zip(queries, found):
        lines += [f"{query}\t{rank}\t{value:.4f}\t{path}" for rank, (path, value) in enumerate(neighbours, start=1)]
    return "\n".join(lines)


def write_page(path: Path, queries: Sequence[Path], found: Sequence[Sequence[tuple[Path, float]]], title: str) -> None:
    """A row for each query: its picture, then those of its neighbours with their similarities. Needs no other file."""
    rows = []
    for query, neighbours in zip(queries, found):
        cells = [_cell(query, "query")] + [_cell(one, f"{value:.3f}") for one, value in neighbours]
        rows.append(f"<tr>{''.join(cells)}</tr>")
    text = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{STYLE}</style><h1>{html.escape(title)}</h1><table>{''.join(rows)}</table></html>\n"
    )
    write_whole(path, text)


def _cell(path: Path, said: str) -> str:
    image, content = opened(path), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(content, "JPEG", quality=85)
    name = html.escape(str(path))
    picture = base64.b64encode(content.getvalue()).decode()
    return (
        f'<td><figure><img src="data:image/jpeg;base64,{picture}" alt="{name}">'
        f"<figcaption>{html.escape(said)}<br>{name}</figcaption></figure></td>"
    )
