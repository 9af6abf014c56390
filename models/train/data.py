"""Reads aligned face crops and prepares what training needs; nothing here changes a picture for good.

What: `prepare` decodes every crop of a folder once, runs the small networks on it and writes plain arrays; `pairs` adds
composites of other people (the network's second input); `Batches` draws augmented training batches.
Why arrays on disk: they are memory-mapped, so that a run starts at once and two runs share their pages.
Limits: pictures are 144 x 144 (128 and a ring of 8); rows with hold=1 are prepared (for evaluation) and never drawn.

Folder format: crops-*.tar with <source>/<name>.webp, and index.csv with the columns
file, source, identity, age, sex, group, gray, hold, face_px, sharp, l5, valid (README.md).
"""
import argparse
import csv
import glob
import io
import json
import os
import sys
import tarfile
import time

import cv2
import numpy as np

import small

COLUMNS = ("file", "source", "identity", "age", "sex", "group", "gray", "hold", "face_px", "sharp", "l5", "valid")
SIDE = 144


def fail(operation, expected, got, remedy):
    sys.exit(f"{operation}: expected {expected}, got {got}; {remedy}")


def read_index(folder):
    path = os.path.join(folder, "index.csv")
    if not os.path.isfile(path):
        fail(f"read faces in {folder}", "an index.csv", "none", "give --data FOLDER that holds crops-*.tar and index.csv")
    with open(path, newline="") as f:
        rows = list(csv.DictReader(f))
    if not rows:
        fail(f"read {path}", "at least one row", "none", "the folder has no faces")
    missing = [c for c in COLUMNS if c not in rows[0]]
    if missing:
        fail(f"read {path}", f"columns {COLUMNS}", f"none named {missing}", "see README.md for the format")
    for n, r in enumerate(rows):
        label(r, "age", 0, 120, path, n)
        label(r, "sex", 0, 1, path, n)
        label(r, "group", 0, 4, path, n)
    return {r["file"]: r for r in rows}


def label(row, key, low, high, path, n):
    v = row[key]
    if v == "":
        return
    if not v.lstrip("-").isdigit() or not low <= int(v) <= high:
        fail(f"read {path}, row {n + 2}, file {row['file']}", f"{key} empty or {low}..{high}", repr(v), "correct or empty that cell")


def crops(folder):
    """Yields (row, RGB 144x144 uint8); a corrupt picture is named and skipped, an empty folder ends the run."""
    meta, seen, bad = read_index(folder), 0, 0
    for shard in sorted(glob.glob(os.path.join(folder, "crops-*.tar"))):
        with tarfile.open(shard) as t:
            for m in t:
                if m.name not in meta:
                    continue
                im = cv2.imdecode(np.frombuffer(t.extractfile(m).read(), np.uint8), cv2.IMREAD_COLOR)
                if im is None or im.shape != (SIDE, SIDE, 3):
                    bad += 1
                    print(f"skip {os.path.basename(shard)}:{m.name}: expected a {SIDE}x{SIDE} picture, got {'no picture' if im is None else im.shape}", file=sys.stderr)
                    continue
                seen += 1
                yield meta[m.name], np.ascontiguousarray(im[..., ::-1])
    if not seen:
        fail(f"read faces in {folder}", "crops-*.tar with pictures named in index.csv", f"none ({bad} corrupt)", "check the folder")


def one_each(folder, hold, n, seed, min_face_px):
    """(row, crop) of n people of `hold` ("0" or "1"), one crop each, grown up where the label says; drawn by the seed."""
    rng, seen, out = np.random.default_rng(seed), set(), []
    rows = [(r, x) for r, x in crops(folder) if r["hold"] == hold and r["gray"] == "0" and int(r["face_px"]) >= min_face_px]
    for i in rng.permutation(len(rows)):
        r = rows[i][0]
        if r["identity"] and r["identity"] in seen:
            continue
        seen.add(r["identity"] or None)
        if r["source"] == "utk" and int(r["age"]) < 14:
            continue
        out.append(rows[i])
        if len(out) == n:
            break
    return out


def attributes(age, sex, group):
    """17 flags: age decade 0..9, sex 2, group 5; unknown (-1) = zeros."""
    a = np.zeros(17, np.float32)
    if age >= 0:
        a[min(9, age // 10)] = 1
    if sex >= 0:
        a[10 + sex] = 1
    if group >= 0:
        a[12 + group] = 1
    return a


_W = {}


def _init(small_folder):
    cv2.setNumThreads(1)
    _W["mesh"], _W["rec"] = small.Mesh(small_folder), small.Recogniser(small_folder)


def _measure(item):
    row, im = item
    p, flag = _W["mesh"].on_crop(im)
    e = _W["rec"](small.to112(im[8:136, 8:136])[None])[0]
    return row, im, p, flag, e


def prepare(folder, out, small_folder, workers, min_face_px, limit=None):
    import itertools
    import multiprocessing as mp
    t0, os_path = time.time(), os.path.join(out, "faces")
    os.makedirs(out, exist_ok=True)
    keep = (c for c in crops(folder) if c[0]["gray"] == "0" and int(c[0]["face_px"]) >= min_face_px)
    rows = list(itertools.islice(keep, limit))
    with mp.get_context("fork").Pool(workers, _init, (small_folder,)) as pool:
        done = [r for r in pool.imap(_measure, rows, chunksize=32) if r[3] > 0]
    if not done:
        fail(f"prepare {folder}", "faces that the mesh accepts", "none", "are the crops aligned to the template?")
    num = lambda k: np.array([int(r[0][k]) if r[0][k] != "" else -1 for r in done], np.int32)
    np.save(os_path + "-x.npy", np.stack([r[1] for r in done]))
    np.savez(os_path + ".npz", mesh=np.stack([r[2] for r in done]), flag=np.array([r[3] for r in done], np.float32), e=np.stack([r[4] for r in done]),
             age=num("age"), sex=num("sex"), group=num("group"), hold=num("hold"), face_px=num("face_px"),
             sharp=np.array([float(r[0]["sharp"]) for r in done], np.float32), valid=np.array([[int(v) for v in r[0]["valid"].split()] for r in done], np.int32),
             name=np.array([r[0]["file"] for r in done]), source=np.array([r[0]["source"] for r in done]), identity=np.array([r[0]["identity"] for r in done]))
    print(f"prepared {len(done)} of {len(rows)} crops in {time.time() - t0:.0f} s")


def load(out, mmap="r"):
    path = os.path.join(out, "faces.npz")
    if not os.path.exists(path):
        fail(f"load {out}", "faces.npz", "none", "run: python data.py prepare --data FOLDER --work " + out)
    z = dict(np.load(path))
    z["x"] = np.load(os.path.join(out, "faces-x.npy"), mmap_mode=mmap)
    return z


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    ap.add_argument("command", choices=["prepare"])
    ap.add_argument("--data", required=True)
    ap.add_argument("--work", default=os.path.join(here, "runs"))
    ap.add_argument("--small", default=os.path.join(here, "..", "small"))
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument("--min-face-px", type=int, default=70)
    ap.add_argument("--limit", type=int)
    a = ap.parse_args()
    prepare(a.data, a.work, a.small, a.workers, a.min_face_px, a.limit)
