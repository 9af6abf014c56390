"""Contact sheets that may be published: eight synthetic people (portraits of single basis textures, turned a little), every mode.

Real photographs never go in here: for those use evaluate.py --sheet and keep the picture to yourself.
"""
import argparse
import os

import cv2
import numpy as np

import geometry as g
import small
from modes import Pack

HERE = os.path.dirname(os.path.abspath(__file__))
ROWS = [("prior", {}), ("ksame", {}), ("nullface", {}), ("reverse", dict(attributes=dict(age=65))), ("reverse", dict(attributes=dict(age=25))), ("id2face", dict(policy="orthogonal"))]


def person(basis, i, yaw, field):
    """144x144 RGB of texture i, turned by yaw radians."""
    c, s = np.cos(yaw), np.sin(yaw)
    mesh = (basis.mean_shape @ np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]]) * 56).astype(np.float32)
    mesh[:, :2] += np.float32([72, 82]) - mesh[g.OVAL, :2].mean(0) + np.float32([0, -4])
    mx, my, idx = g.sample_map(mesh, basis.canonical, basis.triangles_all, 144, 144)
    face = cv2.remap(basis.textures[i], mx, my, cv2.INTER_LINEAR)
    soft = g.blur((idx >= 0).astype(np.float32), 1.0)[..., None]
    return field * (1 - soft) + np.where((idx >= 0)[..., None], face, field) * soft


def main():
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("--pack", default=os.path.join(HERE, "..", "nullface-128"))
    ap.add_argument("--small", default=os.path.join(HERE, "..", "small"))
    ap.add_argument("--out", default=os.path.join(HERE, "..", "nullface-128", "docs"))
    a = ap.parse_args()
    cv2.setNumThreads(1)
    pack, mesh_net, rec = Pack(a.pack), small.Mesh(a.small), small.Recogniser(a.small)
    os.makedirs(a.out, exist_ok=True)
    rng, tiles = np.random.default_rng(0), []
    for n, i in enumerate(np.linspace(3, len(pack.basis.labels) - 1, 8).astype(int)):
        t = pack.basis.labels[i]
        x = person(pack.basis, i, rng.uniform(-0.25, 0.25), np.float32([150, 155, 160])).astype(np.float32)
        mesh, flag = mesh_net.on_crop(x)
        if flag <= 0:
            continue
        e = rec(small.to112(x[8:136, 8:136])[None])[0]
        embed = lambda im: rec(small.to112(im[8:136, 8:136])[None])[0]
        col = [x] + [pack.run(mode, x, mesh, e, seed=n, embed=embed, **kw)["out"] for mode, kw in ROWS]
        tiles.append(np.vstack(col))
    cv2.imwrite(os.path.join(a.out, "modes.png"), np.hstack(tiles).clip(0, 255).astype(np.uint8)[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
