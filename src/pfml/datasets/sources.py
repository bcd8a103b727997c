"""The addresses of the real datasets, their expected contents, and a function that opens one.

A dataset has one or more forms: the official archives, or a copy in another file format. A form is a list of files,
each with its mirrors in order of preference. Addresses, sizes and checksums come from the public code and threads named
in docs/datasets.md; the addresses change, the checksums do not.
"""

import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pfml.datasets import copies, layouts
from pfml.datasets.archives import open_archive
from pfml.datasets.download import DownloadError, download, find
from pfml.datasets.forms import Entry, Form, hugging_face, mirrors_of, one_archive
from pfml.datasets.listing import Listing

log = logging.getLogger(__name__)


def open_dataset(name: str, folder: Path, manual: Path | None = None, entry: Entry | None = None, **options) -> Listing:
    """The images of a real dataset, fetched if they are not there yet, parsed, and counted.

    Args:
        name: a key of DATASETS.
        folder: for downloads and inflated archives, such as data/downloads/cub200.
        manual: folder with files that the user fetched by hand, such as data/manual.
        entry: replaces the entry of DATASETS.
        options: attempts, timeout and sleep of `download`.

    Returns:
        a listing; table.attrs has `form` (the name of the form used), `licence` and `train_classes`.

    Raises:
        DownloadError: no form could be fetched; says for every address what failed and which file to put where by hand.
        ValueError: unknown name; or the files have not the expected layout or counts.
    """
    if entry is None:
        if name not in DATASETS:
            raise ValueError(f"unknown dataset {name!r}; expected {', '.join(DATASETS)}")
        entry = DATASETS[name]
    folder = Path(folder)
    form, paths = _paths(entry, folder, manual, options)
    log.info("%s: %s", entry.name, form.name)
    limits = {"max_files": 4 * entry.images + 10_000, "max_bytes": 4 * entry.bytes + (64 << 20)}
    listing = form.parse(paths, partial(open_archive, work=folder, **limits))
    check_counts(listing, entry, f"{entry.name}: {', '.join(map(str, paths))}")
    listing.table.attrs |= {"form": form.name, "licence": entry.licence, "train_classes": entry.train_classes}
    return listing


def check_counts(listing: Listing, entry: Entry, where: str) -> None:
    """Raises ValueError, beginning with `where`, unless both halves have the expected numbers of images and classes; so
    must queries and gallery, where the source separates them.
    """
    ids = listing.table["class_id"]
    train, test_classes = ids < entry.train_classes, entry.classes - entry.train_classes
    parts = [("training", train, entry.train_images, entry.train_classes)]
    parts += [("test", ~train, entry.test_images, test_classes)]
    if entry.query_images is not None:
        role, gallery_images = listing.table["role"], entry.test_images - entry.query_images
        parts += [("query", role == "query", entry.query_images, test_classes)]
        parts += [("gallery", role == "gallery", gallery_images, test_classes)]
    names, rows, images, classes = zip(*parts)
    found = tuple(int(part.sum()) for part in rows), tuple(ids[part].nunique() for part in rows)
    if found != (images, classes):
        raise ValueError(
            f"{where}: found {_say(*found, names)}, expected {_say(images, classes, names)}; "
            "these are not the expected files: remove them, or put the official ones into their place"
        )


def _say(images: Sequence[int], classes: Sequence[int], names: Sequence[str]) -> str:
    """`5,864 + 5,924 images of 100 + 100 classes (training + test)`."""
    images, classes = (" + ".join(f"{number:,}" for number in numbers) for numbers in (images, classes))
    return f"{images} images of {classes} classes ({' + '.join(names)})"


def _paths(entry: Entry, folder: Path, manual: Path | None, options: dict) -> tuple[Form, list[Path]]:
    """The first form that is complete on disk, or else the first that can be fetched."""
    for form in entry.forms:
        paths = []
        for mirrors in form.files:
            path = find(mirrors, folder, manual)
            if path is None:
                break
            paths.append(path)
        else:
            return form, paths
    problems = []
    for form in entry.forms:
        try:
            return form, [download(mirrors, folder, manual, **options) for mirrors in form.files]
        except DownloadError as error:
            log.warning("%s, %s: could not be fetched", entry.name, form.name)
            problems.append(f"{form.name}: {error}")
    raise DownloadError(f"{entry.name} could not be fetched in any form.\n" + "\n".join(problems))


CUB200 = Entry(
    name="cub200",
    forms=(
        one_archive(
            "official archive",
            layouts.cub200,
            "CUB_200_2011.tgz",
            "https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz?download=1",
            "https://s3.amazonaws.com/fast-ai-imageclas/CUB_200_2011.tgz",
            "http://www.vision.caltech.edu/visipedia-data/CUB-200-2011/CUB_200_2011.tgz",
            md5="97eceeb196236b17998738112f37df78", bytes=1_150_585_339,
        ),
    ),
    classes=200, train_classes=100, train_images=5864, test_images=5924, bytes=1_150_585_339,
    licence="for non-commercial research and education; the images belong to their photographers",
    citation="Wah et al., The Caltech-UCSD Birds-200-2011 Dataset, CNS-TR-2011-001, Caltech, 2011",
)  # fmt: skip

_OFFLINE = "the official server has been without this file since 2023"
CARS196 = Entry(
    name="cars196",
    forms=(
        Form(
            "official archive",
            (
                # The small file first: if it cannot be fetched, two gigabytes of images are not fetched in vain.
                mirrors_of(
                    "cars_annos.mat",
                    "https://ai.stanford.edu/~jkrause/car196/cars_annos.mat",
                    "http://imagenet.stanford.edu/internal/car196/cars_annos.mat",
                    md5="b407c6086d669747186bd1d764ff9dbc", note=_OFFLINE,
                ),
                mirrors_of(
                    "car_ims.tgz",
                    "https://ai.stanford.edu/~jkrause/car196/car_ims.tgz",
                    "http://imagenet.stanford.edu/internal/car196/car_ims.tgz",
                    md5="d5c8f0aa497503f355e17dc7886c3f14", bytes=1_950_000_000, note=_OFFLINE,
                ),
            ),
            lambda paths, archive: layouts.cars196(archive(paths[1]), paths[0]),
        ),
        # No checksum of these four files is public: their revision is fixed, and their counts are checked.
        hugging_face(
            "tanganke/stanford_cars",
            "9abf6cf7d6dfa7b95152a0d6e791ea9435b47a40",
            [(f"data/{part}-of-00002.parquet", "", 500_000_000)
             for part in ("train-00000", "train-00001", "test-00000", "test-00001")],
            copies.cars196_parquet,
        ),
        one_archive(
            "Kaggle copy jutrera/stanford-car-dataset-by-classes-folder",
            copies.cars196_folders,
            "stanford-car-dataset-by-classes-folder.zip",
            "https://www.kaggle.com/api/v1/datasets/download/jutrera/stanford-car-dataset-by-classes-folder",
            by_hand=(
                "https://www.kaggle.com/datasets/jutrera/stanford-car-dataset-by-classes-folder",
                "log in, press Download, and give archive.zip this name",
            ),
            bytes=1_960_000_000,
        ),
    ),
    classes=196, train_classes=98, train_images=8054, test_images=8131, bytes=1_950_000_000,
    licence="for non-commercial research; the images belong to their owners",
    citation="Krause et al., 3D Object Representations for Fine-Grained Categorization, 3dRR at ICCV, 2013",
)  # fmt: skip

_SOP_DIGESTS = {  # of nyris/stanford-online-products-v1 at the revision below, as a public audit of it lists them
    "train": (
        "8e0b9836ec26d157f97b0639506eee8b443980776187fce57a76b8007c58ba90",
        "122bed28e05cd67c03e642c7ccce7801fb25e2e4a9fa6bb3cd8d84a391f1d602",
        "b38f56e76fde0df05347ca64d6512af2ba0ffd78b6f0936782a688e49ab9097a",
        "3de59abed42fddc4daff5ff3cc70b4e1c70b6ad9969d71a6b4d79c060ad1e79d",
    ),
    "test": (
        "004b8bb9fed6777b293ed3a033e69d25dae2c647013033415265f47756e541f5",
        "dd6c5ecdd9842d79cba9de5cc18f1244408c6bbf4746335d0313fed34cae3984",
        "86f1973f1ee99f863e6abd6e050eccec617a46ef0c0102e184bc8979549c12e3",
        "f2fdb9ab858627688185fd49a626c8114c898912997db638dff49d3723c6d8e6",
    ),
}
SOP = Entry(
    name="sop",
    forms=(
        one_archive(
            "official archive",
            layouts.sop,
            "Stanford_Online_Products.zip",
            "http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",
            "https://drive.usercontent.google.com/download?id=1TclrpQOF_ullUP99wk_gjGN8pKvtErG8"
            "&export=download&authuser=0&confirm=t",
            by_hand=(
                "https://drive.google.com/file/d/1TclrpQOF_ullUP99wk_gjGN8pKvtErG8",
                "open it in a browser and confirm the download (the authors' Google Drive)",
            ),
            md5="7f73d41a2f44250d4779881525aea32e", bytes=3_085_000_000,
        ),
        hugging_face(
            "nyris/stanford-online-products-v1",
            "24a1b9b8ec6c0b1fc4dd324f24b2d829413a6c69",
            [
                (f"data/{half}-0000{i}-of-00004.parquet", digest, 400_000_000)
                for half, digests in _SOP_DIGESTS.items()
                for i, digest in enumerate(digests)
            ],
            lambda paths: copies.sop_parquet(paths[:4], paths[4:]),
        ),
    ),
    classes=22_634, train_classes=11_318, train_images=59_551, test_images=60_502, bytes=3_085_000_000,
    licence="no licence is stated by the authors; photographs of eBay offers, for research",
    citation="Oh Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR, 2016",
)  # fmt: skip

OMNIGLOT = Entry(
    name="omniglot",
    forms=(
        Form(
            "official archives",
            tuple(
                mirrors_of(
                    file,
                    f"https://raw.githubusercontent.com/brendenlake/omniglot/master/python/{file}",
                    f"https://github.com/brendenlake/omniglot/raw/master/python/{file}",
                    md5=md5,
                    bytes=10_000_000,
                )
                for file, md5 in (
                    ("images_background.zip", "68d2efa1b9178cc56df9314c21c6e718"),
                    ("images_evaluation.zip", "6b91aef0f799c5bb55b94e3f2daec811"),
                )
            ),
            lambda paths, archive: layouts.omniglot(archive(paths[0]), archive(paths[1])),
        ),
        Form(  # without a checksum: the bytes of a PNG depend on the library that wrote it
            "archives made from arrays of the drawings, not the official files",
            tuple(
                mirrors_of(
                    f"omniglot_{half}.zip",
                    by_hand=("https://github.com/brendenlake/omniglot", "benchmarks/partial_data.py makes the file"),
                )
                for half in ("background", "evaluation")
            ),
            lambda paths, archive: layouts.omniglot(archive(paths[0]), archive(paths[1])),
        ),
    ),
    classes=1623, train_classes=964, train_images=19_280, test_images=13_180, bytes=16_000_000,
    licence="MIT (Brenden Lake, 2015)",
    citation="Lake et al., Human-level concept learning through probabilistic program induction, Science 350, 2015",
)  # fmt: skip

IN_SHOP = Entry(
    name="in_shop",
    forms=(
        Form(  # no checksum of them is public: their counts are checked
            "official files",
            tuple(
                mirrors_of(
                    file,
                    by_hand=(
                        "https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
                        "the page leads to the folder of the In-shop benchmark; of it take Img/img.zip and "
                        "Eval/list_eval_partition.txt, both without their folders",
                    ),
                )
                for file in ("list_eval_partition.txt", "img.zip")
            ),
            lambda paths, archive: layouts.in_shop(archive(paths[1]), paths[0]),
        ),
    ),
    classes=7982, train_classes=3997, train_images=25_882, test_images=26_830, query_images=14_218, bytes=400_000_000,
    licence="for non-commercial research and education; the images belong to their owners",
    citation="Liu et al., DeepFashion: Powering Robust Clothes Recognition and Retrieval, CVPR, 2016",
)  # fmt: skip

DATASETS = {dataset.name: dataset for dataset in (CUB200, CARS196, SOP, OMNIGLOT, IN_SHOP)}
