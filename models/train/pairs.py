"""Composites of other people for every training crop: the network's second input, made once and reused with fresh
augmentation. Written in random order and announced as they come, so that training starts on the first thousand.

Files in the work folder: pairs-lit.npy (n x variants x 144 x 144 x 3 uint8, the lit texture), pairs-alpha.npy
(n x variants x 144 x 144 uint8), pairs-e.npy (n x variants x 192, the target's embedding), pairs-a.npy (n x variants x 17),
pairs-row.npy (row of faces.npz), pairs-moved.npy and pairs-moved-alpha.npy (the last variant on the mesh moved to its shape: the
base as it is run), pairs-ready (how many are done).
The picture p = x (1 - alpha) + lit alpha is formed in the trainer, after x has been degraded: the network learns to give
the painted part the frame's own blur.
"""
import argparse
import os
import time
import tomllib

import cv2
import numpy as np

import data
import geometry as g
from basisio import read_basis

HERE = os.path.dirname(os.path.abspath(__file__))
_W = {}


SEX, GROWN, AGE, GROUP = 14.0, 3.0, (16.0, 5.0), (0.2, 1.5)   # distances of labels: (estimated, asked for)
MIX, CONCENTRATION, CHILD = 2, 1.2, 14           # textures in one face, Dirichlet parameter of their shares, age of growing up


BEYOND, YOUNGEST, OLDEST = 0.5, 16.0, 80.0       # age drawn for one that is asked for


def age_drawn(asked, estimated):
    """Age of textures for an age asked for: hair, neck and skull stay as old as the source, so the painted part goes beyond."""
    if asked < CHILD:
        return float(asked)
    return float(np.clip(asked + BEYOND * (asked - estimated), YOUNGEST, OLDEST))


def draw_target(basis, rng, sex=-1, age=-1, group=-1, asked=(), people=MIX):
    """Weights over the basis: textures ranked by distance to the labels (-1 = any) less a Gumbel deviate, which draws them with odds
    exp(-distance). Those named in `asked` bind; those only known of the source keep the target plausible in its place and leave it
    free to look different."""
    d = np.zeros(len(basis.labels))
    for i, t in enumerate(basis.labels):
        d[i] += SEX * (sex >= 0 and t["sex"] != sex)
        if age >= 0:
            d[i] += 0.5 * ((t["age"] - age) / AGE["age" in asked]) ** 2 + GROWN * ((age < CHILD) != (t["age"] < CHILD))
        d[i] += GROUP["group" in asked] * (group >= 0 and t["group"] != group)
    pick = np.argsort(d - rng.gumbel(size=len(d)))[:people]
    out = np.zeros(len(d), np.float32)
    out[pick] = rng.dirichlet(np.ones(people) * CONCENTRATION)
    return out


def target_embedding(basis, weights):
    e = weights @ basis.embeddings
    return (e / np.linalg.norm(e)).astype(np.float32)


def target_attributes(basis, weights):
    a = sum(w * data.attributes(t["age"], t["sex"], t["group"]) for w, t in zip(weights, basis.labels) if w > 0)
    return a.astype(np.float32)


def _init(basis_folder, cfg):
    cv2.setNumThreads(1)
    _W["b"], _W["cfg"] = read_basis(basis_folder), cfg


def _one(item):
    im, mesh, sex, age, group, seed = item
    b, cfg, rng = _W["b"], _W["cfg"], np.random.default_rng(seed)
    frame = im.astype(np.float32)
    try:
        place = g.Placement(frame, mesh, b, cfg["composite"])
    except g.Degenerate:
        return None
    lit, alpha, es, ats = [], [], [], []
    for _ in range(cfg["data"]["variants"]):
        known = rng.random() < 0.75
        w = draw_target(b, rng, *((sex, age, group) if known else (-1, -1, -1)), people=int(rng.integers(1, 4)))
        c = place.paint(g.mix(b, w)[0])
        lit.append(c["lit"].round().astype(np.uint8))
        alpha.append((c["alpha"] * 255).round().astype(np.uint8))
        es.append(target_embedding(b, w))
        ats.append(target_attributes(b, w))
    # the last one as it is run: the mesh moved to the target's shape
    tex, shape = g.mix(b, w)
    try:
        moved = g.Placement(frame, mesh, b, cfg["composite"], moved=b.moved_mesh(mesh, shape, strength=cfg["composite"]["shape_strength"], clamp_sd=cfg["composite"]["shape_clamp_sd"])).paint(tex)
    except g.Degenerate:
        return None
    return np.stack(lit), np.stack(alpha), np.stack(es), np.stack(ats), moved["picture"].round().clip(0, 255).astype(np.uint8), (moved["alpha"] * 255).round().astype(np.uint8)


def make(work, basis_folder, cfg, workers, limit):
    import multiprocessing as mp
    z = data.load(work)
    rows = np.random.default_rng(cfg["data"]["seed"]).permutation(np.nonzero(z["hold"] == 0)[0])[:limit]
    n, v, s, t0 = len(rows), cfg["data"]["variants"], data.SIDE, time.time()
    mm = lambda name, shape, dt: np.lib.format.open_memmap(os.path.join(work, f"pairs-{name}.npy"), "w+", dt, shape)
    lit, alpha, e, at, rw = mm("lit", (n, v, s, s, 3), np.uint8), mm("alpha", (n, v, s, s), np.uint8), mm("e", (n, v, 192), np.float32), mm("a", (n, v, 17), np.float32), mm("row", (n,), np.int32)
    mp_, ma = mm("moved", (n, s, s, 3), np.uint8), mm("moved-alpha", (n, s, s), np.uint8)
    items = ((z["x"][r], z["mesh"][r], int(z["sex"][r]), int(z["age"][r]), int(z["group"][r]), int(r)) for r in rows)
    at_row = 0
    pool = mp.get_context("fork").Pool(workers, _init, (basis_folder, cfg)) if workers else None
    if not pool:                                    # in this process: a fork under running threads can hang
        _init(basis_folder, cfg)
    for r, o in zip(rows, pool.imap(_one, items, chunksize=8) if pool else map(_one, items)):
        if o is None:
            continue
        lit[at_row], alpha[at_row], e[at_row], at[at_row], mp_[at_row], ma[at_row] = o
        rw[at_row] = r
        at_row += 1
        if at_row % 250 == 0:
            open(os.path.join(work, "pairs-ready"), "w").write(str(at_row))
    if pool:
        pool.close()
        pool.join()
    open(os.path.join(work, "pairs-ready"), "w").write(str(at_row))
    print(f"{at_row} of {n} crops x {v} composites in {time.time() - t0:.0f} s")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--work", default=os.path.join(HERE, "runs"))
    ap.add_argument("--basis", default=os.path.join(HERE, "..", "nullface-128", "basis"))
    ap.add_argument("--config", default=os.path.join(HERE, "config.toml"))
    ap.add_argument("--workers", type=int, default=2)
    ap.add_argument("--limit", type=int)
    a = ap.parse_args()
    make(a.work, a.basis, tomllib.load(open(a.config, "rb")), a.workers, a.limit)
