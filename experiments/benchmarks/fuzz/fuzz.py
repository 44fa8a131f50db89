"""Read thousands of damaged files: each must be read, or rejected with a clear error message.

`python experiments/benchmarks/fuzz/fuzz.py --cases 10000 --out results.json`

Valid files of each kind are damaged (bits, bytes, blocks, cuts, repeats, dangerous tokens) and read
by the functions that a run uses. The script reports unexpected exceptions, slow reads, memory
growth, and code that a file has executed.
"""

import argparse
import io
import json
import os
import pickle
import random
import resource
import signal
import string
import sys
import tempfile
import time
import traceback
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from PIL import Image
from yaml import YAMLError

from wsss_lightning.cli.config_files import check_files
from wsss_lightning.cli.error_messages import explain_error
from wsss_lightning.config.folder import conf_folder
from wsss_lightning.config.ranges import check_values
from wsss_lightning.config.targets import check_targets
from wsss_lightning.data.dataset import VOCDataset
from wsss_lightning.data.images import opened
from wsss_lightning.data.scores import load_mask
from wsss_lightning.data.sources.boxes import read_csv, read_xml
from wsss_lightning.errors import InputError
from wsss_lightning.methods.sc_cam.files import read_subcategories

SECONDS = 10  # limit of one read
MIB = 1024  # limit of the memory that all reads add
CLASSES = ["bird", "cat", "dog"]
DANGEROUS = ("os.system", "os.exec", "os.posix_spawn", "os.fork", "subprocess.Popen", "pty.spawn")
DANGEROUS += ("socket.connect", "ctypes.dlopen", "shutil.rmtree")

XML = (
    "<annotation><size><width>64</width></size><object><name>cat</name><difficult>0</difficult>"
    "<bndbox><xmin>9</xmin><ymin>9</ymin><xmax>40</xmax><ymax>40</ymax></bndbox></object></annotation>"
)
CSV = "image,bird,cat,dog\nimg,1,0,0\nother,0,1,1\n"
BOXES = "image,class,x0,y0,x1,y1\nimg,cat,1,2,30,40\n"
SUBCATEGORIES = "name,class,subcategory\nimg,cat,tabby\n"
YAML = """defaults: [voc_layout]
name: mine
num_classes: 3
crop_size: 64
long_side: [48, 80]
dataset:
  classes: [bird, cat, dog]
  mask_ids: {0: background, 3: bird, 8: cat, 12: dog}
  tags: tags.csv
  on_missing_labels: error
"""
WORDS: dict[str, list[bytes]] = {
    "xml": [
        b"<!DOCTYPE a [<!ENTITY x 'y'>]>",
        b"<!DOCTYPE a SYSTEM 'file:///etc/passwd'>",
        b"&x;",
        b"<object>" * 300,
        b"<![CDATA[",
        b"nan",
        b"1e999",
    ],
    "csv": [b'"', b"\x00", b",,,,", b"\xef\xbb\xbf", b"\r", b"1e999", b"9" * 200_000],
    "png": [b"IEND", b"IDAT", b"PLTE", b"iCCP", b"zTXt", b"acTL", b"\xff\xff\xff\xff"],
    "jpeg": [b"\xff\xd9", b"\xff\xd8", b"\xff\xc4", b"\xff\xdb", b"\xff\xc0", b"\xff\xff"],
    "npy": [
        b"cos\nsystem\n",
        b"cbuiltins\neval\n",
        b"(S'touch x'\ntR.",
        b"r\xff\xff\xff\x7f",
        b"\x8c\x02os\x8c\x06system\x93",
        b"R",
        b"b",
        b"\x8d" + b"\xff" * 8,
    ],
    "yaml": [
        b"!!python/object/apply:os.system ['touch x']",
        b"_target_: os.system",
        b"&a [*a]",
        b"[" * 400,
        b"${oc.env:HOME}",
        b"${",
        b"\x00",
        b"\t",
        b"null",
        b"!!binary x",
    ],
}


def damaged(kind: str, content: bytes, rng: random.Random) -> bytes:
    """Damage a file; in a PNG usually with corrected checksums, which would reject it otherwise."""
    words = WORDS[kind]
    if kind != "png" or rng.random() < 0.3:
        return change(content, rng, words, text=kind in ("xml", "csv", "yaml"))
    chunks, at = [], 8
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        chunks.append([content[at + 4 : at + 8], content[at + 8 : at + 8 + size]])
        at += 12 + size
    chunk = rng.choice(chunks)
    chunk[1] = change(chunk[1], rng, words, text=False)
    if rng.random() < 0.2:
        rng.shuffle(chunks)
    written = [
        len(body).to_bytes(4, "big") + name + body + zlib.crc32(name + body).to_bytes(4, "big")
        for name, body in chunks
    ]
    return content[:8] + b"".join(written)


def change(content: bytes, rng: random.Random, words: list[bytes], text: bool) -> bytes:
    """Apply a few small changes; in text files mostly changes that keep them text."""
    data = bytearray(content)
    noise = string.printable.encode() if text and rng.random() < 0.8 else bytes(range(256))
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(7)
        if kind == 0 and at < len(data) and not text:
            data[at] ^= 1 << rng.randrange(8)
        elif kind <= 1 and at < len(data):
            data[at] = rng.choice(noise)
        elif kind == 2:
            del data[at : at + rng.choice((1, 4, 32))]
        elif kind == 3:
            data[at:at] = rng.choice(words)
        elif kind == 4:
            start = rng.randrange(len(data) + 1)
            data[at:at] = data[start : start + rng.choice((4, 32, 200))]
        elif kind == 5 and rng.random() < 0.3:
            del data[at:]
        else:
            size = rng.choice((2, 4, 8))
            data[at : at + size] = bytes(rng.choices(noise, k=size))
    return bytes(data)


def seeds(rng: random.Random) -> dict[str, list[bytes]]:
    """Valid files of each kind."""
    noise = np.random.default_rng(rng.randrange(2**32))
    picture = Image.fromarray(noise.integers(0, 256, (56, 64, 3)).astype(np.uint8))
    grey = Image.fromarray(noise.integers(0, 4, (56, 64)).astype(np.uint8))
    coloured = grey.copy()
    coloured.putpalette(list(range(256)) * 3)

    def saved(image: Image.Image, **how: Any) -> bytes:
        held = io.BytesIO()
        image.save(held, **how)
        return held.getvalue()

    def npy(content: Any, protocol: int) -> bytes:
        held, array = io.BytesIO(), np.empty((), object)
        array[()] = content
        header = {"descr": "|O", "fortran_order": False, "shape": ()}
        np.lib.format.write_array_header_1_0(held, header)
        return held.getvalue() + pickle.dumps(array, protocol=protocol)

    tags = {"img": np.array([1, 0, 0], np.float32), 2007000032: np.array([0, 1, 1], np.float32)}
    return {
        "xml": [XML.encode()],
        "csv": [CSV.encode(), BOXES.encode(), SUBCATEGORIES.encode()],
        "png": [
            saved(grey, format="PNG"),
            saved(coloured, format="PNG", optimize=True),
            saved(picture, format="PNG"),
        ],
        "jpeg": [
            saved(picture, format="JPEG", quality=80),
            saved(picture, format="JPEG", progressive=True),
            saved(picture.convert("L"), format="JPEG"),
        ],
        "npy": [npy(tags, 2), npy(tags, 3), npy(tags, 4), npy(tags, 5)],
        "yaml": [YAML.encode()],
    }


def readers(folder: Path) -> dict[str, Callable[[bytes], None]]:
    """For each kind, the function that reads such a file as a run does."""
    for name in ("JPEGImages", "SegmentationClass", "Annotations", "own/data"):
        (folder / name).mkdir(parents=True)
    (folder / "train.txt").write_text("img\n")
    Image.new("RGB", (64, 56)).save(folder / "JPEGImages/img.jpg")
    image = folder / "JPEGImages/img.jpg"
    whole = image.read_bytes()

    def voc(tags: str) -> VOCDataset:
        return VOCDataset(
            folder,
            "train",
            CLASSES,
            {"train": "train.txt"},
            tags,
            None,
            "JPEGImages",
            "SegmentationClass",
            "Annotations",
            "background",
        )

    def xml(content: bytes) -> None:
        path = folder / "Annotations/img.xml"
        path.write_bytes(content)
        read_xml(path)
        voc("xml").boxes(0)

    def csv(content: bytes) -> None:
        path = folder / "tags.csv"
        path.write_bytes(content)
        if content[6:9] == b"cla":  # the beginning of BOXES
            read_csv(path)
        elif content[:4] == b"name":
            read_subcategories(path, ["img"], CLASSES)
        else:
            voc("tags.csv")

    def png(content: bytes) -> None:
        path = folder / "SegmentationClass/img.png"
        path.write_bytes(content)
        try:
            load_mask(path)
            voc("masks").check()
        finally:
            path.unlink()

    def jpeg(content: bytes) -> None:
        image.write_bytes(content)
        try:
            with opened(image) as read:
                read.convert("RGB")
            (folder / "tags.csv").write_text(CSV)
            data = voc("tags.csv")
            data.check()
            data.image(0)
        finally:
            image.write_bytes(whole)

    def npy(content: bytes) -> None:
        (folder / "cls_labels.npy").write_bytes(content)
        voc("cls_labels.npy")

    def yaml(content: bytes) -> None:
        (folder / "own/data/mine.yaml").write_bytes(content)
        check_files([folder / "own"])
        (folder / "tags.csv").write_text(CSV)
        words = ["experiment=cam", "data=mine", f"data.root={folder}"]
        cfg = compose("config", [*words, f"hydra.searchpath=['file://{folder}/own']"])
        check_values(cfg)
        check_targets(cfg)
        OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)

    return {"xml": xml, "csv": csv, "png": png, "jpeg": jpeg, "npy": npy, "yaml": yaml}


OURS = (InputError, HydraException, OmegaConfBaseException, YAMLError)


def fuzz(cases: int, seed: int, share: dict[str, float]) -> dict[str, Any]:
    """Damage and read files of every kind.

    Args:
        cases: number of files of all kinds together.
        share: fraction of each kind.

    Returns:
        Cases, rejected files, longest read in seconds and defects by kind; MiB added; code run.
    """
    rng = random.Random(seed)
    watched: list[str] = []
    watching = False

    def hook(event: str, _: Any) -> None:
        if watching and event.startswith(DANGEROUS):
            watched.append(event)

    def too_long(*_: Any) -> None:
        raise TimeoutError(f"the read took longer than {SECONDS} seconds")

    sys.addaudithook(hook)
    signal.signal(signal.SIGALRM, too_long)
    found: dict[str, Any] = {}
    begin = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    previous = Path.cwd()
    with tempfile.TemporaryDirectory() as place, _hydra():
        folder = Path(place) / "voc"
        read = readers(folder)
        os.chdir(folder)
        for kind, part in share.items():
            count, refused, longest, defects = round(cases * part), 0, 0.0, []
            whole = seeds(rng)[kind]
            for one in whole:  # valid files must be accepted
                _accepted(read[kind], one)
            for _ in range(count):
                content = damaged(kind, rng.choice(whole), rng)
                start, watching = time.monotonic(), True
                signal.alarm(SECONDS)
                try:
                    read[kind](content)
                except OURS as error:
                    refused += 1
                    # the message that the command line would print
                    if not (str(error).strip() or explain_error(error, [])):
                        defects.append({"content": content.hex()[:4000], "error": "no message"})
                except Exception as error:
                    message = f"{type(error).__name__}: {error}"[:300]
                    where = traceback.extract_tb(error.__traceback__)[-1]
                    message += f" at {Path(where.filename).name}:{where.lineno}"
                    defects.append({"content": content.hex()[:4000], "error": message})
                finally:
                    signal.alarm(0)
                    watching = False
                longest = max(longest, time.monotonic() - start)
            found[kind] = {
                "cases": count,
                "refused": refused,
                "longest_s": round(longest, 3),
                "defects": defects,
            }
        os.chdir(previous)
        code = [path.name for path in folder.iterdir() if path.name in ("x", "was_here")]
    added = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {
        "seed": seed,
        "kinds": found,
        "mib_added": round(added),
        "code_run": sorted({*watched, *code}),
        "seconds": round(time.monotonic() - begin, 1),
    }


def _accepted(read: Callable[[bytes], None], content: bytes) -> None:
    try:
        read(content)
    except InputError as error:
        # a colour image is not a valid mask, but a useful one to damage
        if "mode RGB" not in str(error) and "are not whole" not in str(error):
            raise


def _hydra() -> Any:
    return initialize_config_dir(str(conf_folder()), version_base="1.3")


# YAML is composed by Hydra, which takes a hundred times as long as reading the others
SHARE = {"xml": 0.25, "csv": 0.2, "png": 0.2, "jpeg": 0.2, "npy": 0.1, "yaml": 0.05}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    found = fuzz(args.cases, args.seed, SHARE)
    for kind, counts in found["kinds"].items():
        print(
            f"{kind:<5}{counts['cases']:>7} damaged, {counts['refused']:>6} rejected, "
            f"longest {counts['longest_s']} s, {len(counts['defects'])} defects"
        )
        for defect in counts["defects"][:10]:
            print(f"      {defect['error']}")
    print(f"{found['mib_added']} MiB added, code run: {found['code_run'] or 'none'}")
    print(f"{found['seconds']} s")
    if args.out:
        args.out.write_text(json.dumps(found, indent=2) + "\n")
    bad = any(counts["defects"] for counts in found["kinds"].values())
    sys.exit(bool(bad or found["code_run"] or found["mib_added"] > MIB))


if __name__ == "__main__":
    main()
