"""Checks of a packed dataset, as pure functions over its items.csv.

Errors stop a study: counts other than expected, a class in both halves, and the same picture in both halves (the test
half would be known from training). Warnings are reported only, because official datasets have them and published
numbers were measured with them: the same picture twice inside a half or under two classes of it (Cars-196 is known
for 9 such groups in its test half), classes with one image. Without a split all duplicates are warnings; the split then
decides which of them are errors.

"The same picture" means equal `pfml.images.decode.content_digest`: equal decoded pixels, not similar ones.
"""

from collections.abc import Mapping

import pandas as pd

SHOWN = 5  # groups or classes that a text names before it only counts them


def counts(items: pd.DataFrame) -> dict[str, int]:
    """images, classes, and with a column split also train_images, train_classes, test_images, test_classes; with a
    column role the same of query and gallery.
    """
    numbers = {"images": len(items), "classes": items["class_id"].nunique()}
    for column, parts in (("split", ("train", "test")), ("role", ("query", "gallery"))):
        for part in parts if column in items else ():
            rows = items[items[column] == part]
            numbers |= {f"{part}_images": len(rows), f"{part}_classes": rows["class_id"].nunique()}
    return numbers


def check_counts(items: pd.DataFrame, expected: Mapping[str, int], name: str) -> None:
    """Compare `counts` with the expected ones. Counts that `expected` does not name may have any value.

    Raises:
        ValueError: names the dataset and every count that differs.
        KeyError: a count that the table does not have, such as train_images without a split.
    """
    numbers = counts(items)
    if unknown := set(expected) - set(numbers):
        raise KeyError(f"{name}: no such counts: {sorted(unknown)}; there are {', '.join(numbers)}")
    wrong = [f"{key} {numbers[key]}, expected {value}" for key, value in expected.items() if numbers[key] != value]
    if wrong:
        raise ValueError(f"{name}: found {'; '.join(wrong)}; fetch the dataset again, or correct the expectation")


def duplicates(items: pd.DataFrame) -> list[pd.DataFrame]:
    """The groups of lines with equal content, each of two or more, in the order of their first image."""
    repeated = items[items["sha256"].duplicated(keep=False)]
    return [group for _, group in repeated.groupby("sha256", sort=False)]


def class_sizes(items: pd.DataFrame) -> dict[str, float]:
    """Images per class (smallest, median, largest), and the number of classes with a single image.

    A class with a single image gives no positive pair in training and no query in a test.
    """
    sizes = items.groupby("class_id").size()
    return {
        "smallest": int(sizes.min()), "median": float(sizes.median()), "largest": int(sizes.max()),
        "with_one_image": int((sizes == 1).sum()),
    }  # fmt: skip


def report(items: pd.DataFrame) -> dict:
    """All checks of a dataset in one JSON-ready dict.

    Args:
        items: columns class_id, class_name, name, sha256 and optionally split ("train", "test").

    Returns:
        counts; class_sizes; errors and warnings, each a dict of lists:
        errors: class_in_both_halves (class names), image_in_both_halves (groups of image names);
        warnings: same_image_same_class, same_image_other_class (groups of image names), class_with_one_image (class
        names). A group that lies in both halves is an error and no warning.
    """
    groups = {"image_in_both_halves": [], "same_image_same_class": [], "same_image_other_class": []}
    for group in duplicates(items):
        if "split" in group and group["split"].nunique() > 1:
            kind = "image_in_both_halves"
        else:
            kind = "same_image_same_class" if group["class_id"].nunique() == 1 else "same_image_other_class"
        groups[kind].append(list(group["name"]))
    names = items.drop_duplicates("class_id").set_index("class_id")["class_name"]
    sizes = items.groupby("class_id").size()
    both = []
    if "split" in items:
        halves = items.groupby("class_id")["split"].nunique()
        both = [names[c] for c in halves.index[halves > 1]]
    return {
        "counts": counts(items),
        "class_sizes": class_sizes(items),
        "errors": {"class_in_both_halves": both, "image_in_both_halves": groups.pop("image_in_both_halves")},
        "warnings": {**groups, "class_with_one_image": [names[c] for c in sizes.index[sizes == 1]]},
    }


def check(findings: dict, name: str) -> None:
    """Raises ValueError, with the errors in its message, if the report has any."""
    wrong = [_line(kind, what) for kind, what in findings["errors"].items() if what]
    if wrong:
        raise ValueError(f"{name}: training and test half are not separate\n" + "\n".join(wrong))


def text(findings: dict, name: str) -> str:
    """The report for a person, a few lines."""
    sizes = findings["class_sizes"]
    lines = [
        f"{name}: " + ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in findings["counts"].items()),
        f"images per class: {sizes['smallest']} to {sizes['largest']}, median {sizes['median']:g}",
    ]
    for level in ("errors", "warnings"):
        listed = [_line(kind, what) for kind, what in findings[level].items() if what]
        lines += [f"{level}: {'' if listed else 'none'}".rstrip(), *listed]
    return "\n".join(lines)


def _line(kind: str, what: list) -> str:
    shown = "; ".join(" = ".join(map(str, one)) if isinstance(one, list) else str(one) for one in what[:SHOWN])
    more = f"; and {len(what) - SHOWN} more" if len(what) > SHOWN else ""
    return f"  {kind.replace('_', ' ')}: {len(what)} ({shown}{more})"
