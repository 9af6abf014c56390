"""Writes and reads the basis as plain files: basis.toml, textures.png, mask.png, basis.f32le, triangles.u16le.

Why not npz: the engine reads this without Python. All numbers little-endian, arrays row-major, one after another in the
order and at the byte offsets that basis.toml lists. README.md, "Basis", states the layout.
"""
import os
import sys
import tomllib

import cv2
import numpy as np

from geometry import Basis

COLUMNS = 8


def write_mask(out, mask):
    """H x W x 3, 0..1."""
    cv2.imwrite(os.path.join(out, "mask.png"), (mask * 255).round().astype(np.uint8)[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


def write_numbers(out, arrays):
    """basis.f32le; returns the [[array]] entries of basis.toml."""
    at, text = 0, []
    with open(os.path.join(out, "basis.f32le"), "wb") as f:
        for k, a in arrays.items():
            raw = np.ascontiguousarray(a, "<f4").tobytes()
            f.write(raw)
            text.append(f'[[array]]\nname = "{k}"\noffset = {at}\nshape = {list(a.shape)}\n')
            at += len(raw)
    return text


def read_numbers(folder, t):
    raw, a = np.fromfile(os.path.join(folder, "basis.f32le"), "<f4"), {}
    for d in t["array"]:
        n = int(np.prod(d["shape"]))
        part = raw[d["offset"] // 4: d["offset"] // 4 + n]
        if len(part) != n:
            sys.exit(f"read basis: {d['name']} expected {n} numbers, got {len(part)}")
        a[d["name"]] = part.reshape(d["shape"]).copy()
    return a


def replace_numbers(folder, **arrays):
    """Adds or replaces arrays of a written basis; nothing else of it changes."""
    path = os.path.join(folder, "basis.toml")
    text = open(path).read()
    entries = write_numbers(folder, read_numbers(folder, tomllib.loads(text)) | arrays)
    first, after = text.index("[[array]]"), text.index("[[texture]]")
    with open(path, "w") as f:
        f.write(text[:first] + "\n".join(entries) + "\n" + text[after:])


def write_basis(out, canonical, tri, tri_all, mask, textures, mean, modes, sd, project, shapes, embeddings, labels, cfg, probe):
    n, size = len(textures), textures.shape[1]
    rows = -(-n // COLUMNS)
    atlas = np.zeros((rows * size, COLUMNS * size, 3), np.uint8)
    for i, t in enumerate(textures):
        y, x = divmod(i, COLUMNS)
        atlas[y * size:(y + 1) * size, x * size:(x + 1) * size] = t.round().clip(0, 255)
    cv2.imwrite(os.path.join(out, "textures.png"), atlas[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    write_mask(out, mask)
    arrays = dict(canonical_px=canonical, mean_shape_iod=mean, shape_modes_iod=modes, shape_mode_sd=sd, shape_project=project, texture_shape=shapes, texture_embedding=embeddings, label_probe=probe)
    text = [f"version = 1\ntextures = {n}\nsize_px = {size}\ncolumns = {COLUMNS}\nrows = {rows}\npoints = 468\nshape_modes = {len(sd)}\nidentity_dim = {embeddings.shape[1]}",
            f"detail_sigma_px = {cfg['basis']['detail_sigma_px']}\ndetail_gain_max = {cfg['basis']['detail_gain_max']}",
            f"triangles = {len(tri_all)}          # in triangles.u16le: first the openings of eyes and mouth, then those drawn",
            f"triangles_openings = {len(tri_all) - len(tri)}", ""]
    text += write_numbers(out, arrays)
    drawn = {tuple(t) for t in tri.tolist()}
    openings = np.array([t for t in tri_all.tolist() if tuple(t) not in drawn])
    np.concatenate([openings, tri]).astype("<u2").tofile(os.path.join(out, "triangles.u16le"))
    for i, l in enumerate(labels):
        text.append("[[texture]]\n" + "".join(f"{k} = {l[k]}\n" for k in ("sex", "group", "age", "age_min", "age_max", "contributors", "per_texel", "nearest_contributor_cos", "far_1e3_cos")))
    text.append("# Constants of the composite recipe (models/train/README.md).\n[composite]\n" + "".join(f"{k} = {v}\n" for k, v in cfg["composite"].items()))
    with open(os.path.join(out, "basis.toml"), "w") as f:
        f.write("\n".join(text))


def read_basis(folder):
    path = os.path.join(folder, "basis.toml")
    if not os.path.exists(path):
        sys.exit(f"read basis: expected {path}, got none; run basis.py")
    t = tomllib.load(open(path, "rb"))
    a = read_numbers(folder, t)
    tri = np.fromfile(os.path.join(folder, "triangles.u16le"), "<u2").reshape(-1, 3).astype(np.int32)
    if len(tri) != t["triangles"] or tri.max() >= 468:
        sys.exit(f"read basis: expected {t['triangles']} triangles of points below 468, got {len(tri)} up to {tri.max()}")
    atlas = cv2.imread(os.path.join(folder, "textures.png"))[..., ::-1]
    mask = cv2.imread(os.path.join(folder, "mask.png"))[..., ::-1]
    s = t["size_px"]
    tex = np.stack([atlas[i // t["columns"] * s:][:s, i % t["columns"] * s:][:, :s] for i in range(t["textures"])]).astype(np.float32)
    return Basis(a["canonical_px"], tri[t["triangles_openings"]:], tri, mask.astype(np.float32) / 255, tex, a["mean_shape_iod"].astype(np.float64), a["shape_modes_iod"],
                 a["shape_mode_sd"], a["shape_project"], a["texture_shape"], t["texture"], a["texture_embedding"], a.get("label_probe"),
                 a.get("likeness_probe"), a.get("likeness_shape"))
