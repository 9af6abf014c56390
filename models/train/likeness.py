"""What a painted target will look like before it is painted: a linear readout of the source's embedding for each texture, fitted on
training people, with which a track's candidates are put in order ("Promise" in README.md).

  python likeness.py --data FACES [--people 1500]      # adds likeness_probe and likeness_shape to the pack's basis, hashes renewed
Why not the textures' own embeddings alone: what the source keeps (hair, eyes, light) differs from texture to texture. Of people not
fitted on, the correlation of promise and painted cosine among one person's candidates is .87; of the textures' embeddings, .47.
Limits: fitted at the basis' shape strength, on single crops, nothing held out is looked at.
"""
import argparse
import os
import tomllib

import cv2
import numpy as np

import data
import geometry as g
import pairs
import small
from basisio import read_basis, replace_numbers

HERE = os.path.dirname(os.path.abspath(__file__))


def unlike_shape(basis, clamp_sd, shapes, own):
    """|target - source| of each coefficient, both clamped, in standard deviations."""
    c = lambda q: np.clip(np.asarray(q) / basis.mode_sd, -clamp_sd, clamp_sd)
    return np.abs(c(shapes) - c(own))


def paint(basis, cfg, crops, rec, mesh_net, per, seed):
    """Rows (person, weights, embedding, unlike shape, cosine of the painted candidate) of `per` candidates for each crop 144x144x3;
    one in five is a single texture, so that each is seen pure."""
    out = []
    for n, x in enumerate(crops):
        x = x.astype(np.float32)
        p, flag = mesh_net.on_crop(x)
        if flag <= 0:
            continue
        e = rec(small.to112(x[8:136, 8:136])[None])[0]
        own, v = basis.shape_coefficients(p)[0], basis.probe[:, :-1] @ e + basis.probe[:, -1]
        rng = np.random.default_rng([seed, n])
        for k in range(per):
            w = pairs.draw_target(basis, rng, int(v[0] > 0), float(np.clip(v[1], 0, 100)), int(np.argmax(v[2:])), people=pairs.MIX if k % 5 else 1)
            tex, shape = g.mix(basis, w)
            try:
                moved = basis.moved_mesh(p, shape, strength=cfg["shape_strength"], clamp_sd=cfg["shape_clamp_sd"])
                im = g.Placement(x, p, basis, cfg, moved=moved).paint(tex)["picture"]
            except g.Degenerate:
                continue
            out.append((n, w, e, unlike_shape(basis, cfg["shape_clamp_sd"], shape, own), float(e @ rec(small.to112(im[8:136, 8:136])[None])[0])))
    return [np.array(c) for c in zip(*out)]


def features(rows, mean, axes):
    _, w, e, shape, _ = rows
    q = (e - mean) @ axes.T
    return np.concatenate([shape, w, (w[:, :, None] * q[:, None]).reshape(len(w), -1)], 1).astype(np.float64)


def centred(z, person):
    z = np.array(z, np.float64)
    for i in np.unique(person):
        z[person == i] -= z[person == i].mean(0)
    return z


def fit(rows, cfg, emb):
    """likeness_probe B x 193 and likeness_shape K: cos ~ sum w_i (probe_i . (e, 1)) + shape . unlike_shape, up to a constant a person.
    Ridge towards the textures' embeddings times the best single factor; e in its first principal components."""
    person, w, e, shape, y = rows
    first = np.unique(person, return_index=True)[1]
    mean = e[first].mean(0)
    axes = np.linalg.svd(e[first] - mean, full_matrices=False)[2][: cfg["components"]]
    yc = centred(y, person)
    own = centred(((w @ emb) * e).sum(1), person)
    alpha = np.linalg.lstsq(np.c_[own, centred(shape, person)], yc, rcond=None)[0][0]
    x = centred(features(rows, mean, axes), person)
    k, b = shape.shape[1], w.shape[1]
    lam = np.r_[np.full(k, 1e-6), np.full(b, cfg["ridge_texture"]), np.full(b * len(axes), cfg["ridge"])]
    co = np.linalg.solve(x.T @ x + np.diag(lam), x.T @ (yc - alpha * own))
    v = co[k + b:].reshape(b, -1) @ axes
    return np.c_[alpha * emb + v, co[k:k + b] - v @ mean].astype(np.float32), co[:k].astype(np.float32)


def told(probe, shape, rows):
    _, w, e, u, _ = rows
    return (w * (e @ probe[:, :-1].T + probe[:, -1])).sum(1) + u @ shape


def cross(rows, cfg, emb, folds=5):
    """Correlation of promise and painted cosine among one person's candidates, for people not fitted on."""
    person = rows[0]
    out = np.zeros(len(person))
    for f in range(folds):
        te = person % folds == f
        probe, shape = fit([c[~te] for c in rows], cfg, emb)
        out[te] = told(probe, shape, [c[te] for c in rows])
    return float(np.corrcoef(centred(out, person), centred(rows[4], person))[0, 1])


def main(a):
    cv2.setNumThreads(1)
    cfg = tomllib.load(open(a.config, "rb"))
    folder = os.path.join(a.pack, "basis")
    basis, composite = read_basis(folder), tomllib.load(open(os.path.join(folder, "basis.toml"), "rb"))["composite"]
    people = data.one_each(a.data, "0", a.people, a.seed, cfg["data"]["min_face_px"])
    rows = paint(basis, composite, (x for _, x in people), small.Recogniser(a.small), small.Mesh(a.small), cfg["likeness"]["paints"], a.seed)
    np.savez(os.path.join(a.work, "likeness-rows.npz"), *rows) if os.path.isdir(a.work) else None
    probe, shape = fit(rows, cfg["likeness"], basis.embeddings)
    plain = centred((((rows[1] @ basis.embeddings) / np.linalg.norm(rows[1] @ basis.embeddings, axis=1, keepdims=True)) * rows[2]).sum(1), rows[0])
    print(f"{len(np.unique(rows[0]))} people, {len(rows[0])} painted; correlation with the painted cosine: textures' embeddings {np.corrcoef(plain, centred(rows[4], rows[0]))[0, 1]:.2f}, "
          f"this readout, people not fitted on {cross(rows, cfg['likeness'], basis.embeddings):.2f}; shape {np.round(shape, 4).tolist()}")
    replace_numbers(folder, likeness_probe=probe, likeness_shape=shape)
    from export import refresh
    refresh(a.pack)


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", required=True)
    ap.add_argument("--people", type=int, default=1500)
    ap.add_argument("--seed", type=int, default=321)
    ap.add_argument("--work", default=os.path.join(HERE, "runs"))
    ap.add_argument("--pack", default=os.path.join(HERE, "..", "nullface-128"))
    ap.add_argument("--small", default=os.path.join(HERE, "..", "small"))
    ap.add_argument("--config", default=os.path.join(HERE, "config.toml"))
    main(ap.parse_args())
