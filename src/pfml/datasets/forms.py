"""What a dataset of the catalogue consists of: its forms, their files, and the numbers that it must have."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pfml.datasets.archives import Archive
from pfml.datasets.download import Source
from pfml.datasets.listing import Listing

Open = Callable[[Path], Archive]  # path of an archive -> its index; refuses sizes beyond the dataset's limits


@dataclass(frozen=True)
class Form:
    """One set of files that make a dataset. `parse(paths of the files in order, function that opens an archive)`."""

    name: str
    files: tuple[tuple[Source, ...], ...]
    parse: Callable[[list[Path], Open], Listing]


@dataclass(frozen=True)
class Entry:
    """A dataset of the catalogue and its expected contents.

    The first `train_classes` classes of the official order are the training half, the others the test half (zero-shot
    split). `bytes` is the rough size of a form's files; its archives may inflate to four times as much. `query_images`
    is the number of test images that are queries, where the source separates queries and gallery; each test class is
    then in both.
    """

    name: str
    forms: tuple[Form, ...]
    classes: int
    train_classes: int
    train_images: int
    test_images: int
    bytes: int
    licence: str
    citation: str
    query_images: int | None = None

    @property
    def images(self) -> int:
        return self.train_images + self.test_images


def mirrors_of(file: str, *urls: str, by_hand: tuple[str, str] | None = None, **common) -> tuple[Source, ...]:
    """The sources of one file. `by_hand`: a page to visit, and what to do there."""
    mirrors = [Source(url, file, **common) for url in urls]
    if by_hand:
        mirrors.append(Source(by_hand[0], file, by_hand=by_hand[1], **common))
    return tuple(mirrors)


def one_archive(name: str, parse: Callable[[Archive], Listing], file: str, *urls: str, **options) -> Form:
    """A form of one archive. `parse` gets the archive's index; `options` as in `mirrors_of`."""
    return Form(name, (mirrors_of(file, *urls, **options),), lambda paths, archive: parse(archive(paths[0])))


def hugging_face(
    repository: str, revision: str, files: list[tuple[str, str, int]], parse: Callable[[list[Path]], Listing]
) -> Form:
    """A form of Parquet files of one revision. `files`: path in the repository, sha256 or empty, bytes."""
    base = f"https://huggingface.co/datasets/{repository}/resolve/{revision}"
    label = repository.replace("/", "--")
    sources = tuple(
        (Source(f"{base}/{path}", f"{label}--{Path(path).name}", sha256=digest, bytes=size),)
        for path, digest, size in files
    )
    return Form(f"Hugging Face copy {repository}", sources, lambda paths, _: parse(paths))
