"""Small archives in the exact layouts of the official ones, with real pictures of a colour per class."""

import gzip
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.datasets.pictures import encoded


def picture(class_id: int, number: int, kind: str = "JPEG") -> bytes:
    """A small picture whose red and green say the class; blue says the number, so that no two are the same."""
    pixels = np.full((8 + number % 3, 10, 3), (class_id * 37 % 256, class_id * 91 % 256, number * 5 % 256), np.uint8)
    pixels[0, 0] = number % 256, number // 256, class_id % 256
    return encoded(Image.fromarray(pixels), kind, quality=95)


def write_tgz(path: Path, files: dict[str, bytes]) -> Path:
    # The time in the gzip header is fixed: same files, same checksum.
    with gzip.GzipFile(path, "wb", mtime=0) as packed, tarfile.open(fileobj=packed, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return path


def cub_files(classes: int = 4, per_class: int = 3) -> dict[str, bytes]:
    """Ids in images.txt do not follow the classes strictly in the official archive either; here they are mixed."""
    names = [f"{c + 1:03d}.Bird_{chr(65 + c)}" for c in range(classes)]
    order = [(c, k) for k in range(per_class) for c in range(classes)]
    paths = [f"{names[c]}/Bird_{chr(65 + c)}_{k:04d}_{100 + c}.jpg" for c, k in order]
    root = "CUB_200_2011/"
    text = {
        "classes.txt": [f"{c + 1} {name}" for c, name in enumerate(names)],
        "images.txt": [f"{i} {path}" for i, path in enumerate(paths, 1)],
        "image_class_labels.txt": [f"{i} {c + 1}" for i, (c, _) in enumerate(order, 1)],
        "train_test_split.txt": [f"{i} {i % 2}" for i in range(1, len(order) + 1)],
    }
    files = {"attributes.txt": b"1 has_bill_shape::curved\n"}
    files |= {root + name: ("\n".join(lines) + "\n").encode() for name, lines in text.items()}
    return files | {f"{root}images/{path}": picture(*order[i]) for i, path in enumerate(paths)}


CARS = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ram C/V Cargo Van Minivan 2012", "smart fortwo 2012"]


def cars_files(classes: int = 4, per_class: int = 3) -> tuple[dict[str, bytes], bytes]:
    """The images of car_ims.tgz and the content of cars_annos.mat."""
    from scipy.io import savemat

    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    table = np.zeros((1, classes * per_class), dtype=[(field, object) for field in fields])
    files = {}
    for i in range(classes * per_class):
        path = f"car_ims/{i + 1:06d}.jpg"
        files[path] = picture(i // per_class, i)
        table[0, i] = (path, 1, 1, 8, 8, i // per_class + 1, i % 2)
    names = np.empty((1, classes), dtype=object)
    names[0] = CARS[:classes]
    buffer = io.BytesIO()
    savemat(buffer, {"annotations": table, "class_names": names})
    return files, buffer.getvalue()


def cars_folder_files(per_class: int = 3) -> dict[str, bytes]:
    """Kaggle's copy: half of each class in train, the same file names in both halves."""
    files = {"names.csv": ("\n".join(CARS) + "\n").encode()}
    for half in ("train", "test"):
        lines = []
        for i in range(len(CARS) * per_class):
            c = i // per_class
            name = f"{i + 1:05d}.jpg"
            files[f"car_data/car_data/{half}/{CARS[c].replace('/', '-')}/{name}"] = picture(
                c, i + (half == "test") * 99
            )
            lines.append(f"{name},1,1,8,8,{c + 1}")
        files[f"anno_{half}.csv"] = ("\n".join(lines) + "\n").encode()
    return files


def sop_rows(train: int = 3, test: int = 2, per_class: int = 2) -> dict[str, list[tuple[int, int, int, str]]]:
    """(image_id, class_id, super_class_id, path) of both lists, all ids from 1."""
    rows = {"train": [], "test": []}
    for c in range(train + test):
        kind = ("bicycle", "cabinet")[c % 2]
        for k in range(per_class):
            row = (c * per_class + k + 1, c + 1, c % 2 + 1, f"{kind}_final/1110{c:08d}_{k}.JPG")
            rows["train" if c < train else "test"].append(row)
    return rows


def sop_files(**sizes) -> dict[str, bytes]:
    root, header, files = "Stanford_Online_Products/", "image_id class_id super_class_id path\n", {}
    for split, rows in sop_rows(**sizes).items():
        files[f"{root}Ebay_{split}.txt"] = (header + "".join(" ".join(map(str, r)) + "\n" for r in rows)).encode()
        files |= {root + path: picture(c - 1, i) for i, c, _, path in rows}
    return files | {f"{root}bicycle_final.txt": b"\n", "__MACOSX/._x": b"\0"}


def omniglot_files(root: str, characters: dict[str, int], per_class: int = 2, first: int = 0) -> dict[str, bytes]:
    """`first`: of the pictures, so that two archives differ."""
    files = {}
    for alphabet, count in characters.items():
        for c in range(1, count + 1):
            for k in range(1, per_class + 1):
                name = f"{root}/{alphabet}/character{c:02d}/{c:04d}_{k:02d}.png"
                files[name] = picture(first + len(files), k, "PNG")
    return files


def in_shop_rows(items: int = 6, each: int = 4) -> list[tuple[str, str, str]]:
    """(image_name, item_id, evaluation_status): every second item trains, and a third of a test item's images, rounded
    up, are queries.
    """
    rows = []
    for item in range(1, items + 1):
        for k in range(each):
            path = (
                f"img/{('WOMEN/Dresses', 'MEN/Denim')[item % 3 == 0]}/id_{item:08d}/{k + 1:02d}_{k % 4 + 1}_front.jpg"
            )
            status = "train" if item % 2 == 0 else "query" if k % 3 == 0 else "gallery"
            rows.append((path, f"id_{item:08d}", status))
    return rows


def in_shop_list(rows: list[tuple[str, str, str]]) -> bytes:
    """list_eval_partition.txt, padded with blanks as the official one."""
    lines = [str(len(rows)), "image_name item_id evaluation_status"]
    lines += [f"{path:<70} {item} {status:<8}" for path, item, status in rows]
    return ("\n".join(lines) + "\n").encode()


def in_shop_images(rows: list[tuple[str, str, str]]) -> dict[str, bytes]:
    """The files of img.zip. A picture has the colour of its class id: training items first, in the order of names."""
    items = sorted({(status != "train", item) for _, item, status in rows})
    class_of = {item: class_id for class_id, (_, item) in enumerate(items)}
    return {path: picture(class_of[item], number) for number, (path, item, _) in enumerate(rows)}


def write_parquet(path: Path, columns: dict[str, list], label_names=(), row_group: int = 3) -> Path:
    """As the Hugging Face library writes images: a struct of bytes and path, class names in the schema."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {k: [{"bytes": v, "path": None} for v in vs] if k == "image" else vs for k, vs in columns.items()}
    table = pa.table(columns)
    if label_names:
        features = {"info": {"features": {"label": {"names": list(label_names), "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pq.write_table(table, path, row_group_size=row_group)
    return path
