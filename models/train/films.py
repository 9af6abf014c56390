"""The modes on film: six consecutive frames of every film, figures per film and a contact sheet to look at.

  python films.py --pack ../nullface-128 --videos FOLDER [--sheet sheet.png]
What: one face a film, found by CenterFace, cut by its five points; one target and one noise a film, as a track has them; figures of
the output against the source of the same frame, and beside them the same figures between consecutive source frames (the noise
floor: it holds the motion of a thirtieth of a second).
Limits: no tracking, no smoothing, no cached edits: the engine has these, and measures films whole. Sheets show real people: look, do not publish.
"""
import argparse
import glob
import os
import sys

import cv2
import numpy as np

import data
import geometry as g
import small
from evaluate import Judges, shape_error, sharpness
from modes import Pack

HERE = os.path.dirname(os.path.abspath(__file__))
TEMPLATE_112 = np.float32([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
RUNS = [("prior", "prior", {}), ("default", "ksame", {}), ("nullface", "nullface", dict(policy="negate")), ("reverse, other sex, 60", "reverse", dict(asked=60)), ("id2face", "id2face", dict(policy="orthogonal"))]


class Faces:
    """Five points of the surest face of a frame, in its pixels, or None."""

    def __init__(self, folder):
        self.s = small.session(small.find(folder, "detector"))
        self.i = self.s.get_inputs()[0].name

    def __call__(self, rgb):
        h, w = rgb.shape[:2]
        k = 480 / max(h, w)
        hh, ww = (max(32, int(round(v * k / 32)) * 32) for v in (h, w))
        x = cv2.resize(rgb, (ww, hh), interpolation=cv2.INTER_AREA).astype(np.float32)
        heat, scale, offset, points = self.s.run(None, {self.i: x.transpose(2, 0, 1)[None]})
        r, c = np.unravel_index(int(heat[0, 0].argmax()), heat.shape[2:])
        if heat[0, 0, r, c] < 0.5:
            return None
        bh, bw = 4 * np.exp(scale[0, :, r, c])
        top, left = 4 * (r + offset[0, 0, r, c] + 0.5) - bh / 2, 4 * (c + offset[0, 1, r, c] + 0.5) - bw / 2
        p = points[0, :, r, c].reshape(5, 2)
        return np.stack([(left + p[:, 1] * bw) * w / ww, (top + p[:, 0] * bh) * h / hh], 1).astype(np.float32)


def crop(rgb, points):
    m, _ = cv2.estimateAffinePartial2D(points, TEMPLATE_112 * np.float32(128 / 112) + 8, method=cv2.LMEDS)
    return cv2.warpAffine(rgb, m, (144, 144), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)


def frames(path, start, count):
    v = cv2.VideoCapture(path)
    out = []
    for n in range(start + count):
        ok, f = v.read()
        if not ok:
            break
        if n >= start:
            out.append(np.ascontiguousarray(f[..., ::-1]))
    v.release()
    return out


def film(path, pack, nets, start, seed):
    rec, mesh_net, faces, judge, iris = nets
    embed = lambda im: rec(small.to112(im[8:136, 8:136])[None])[0]
    seen = [(f, faces(f)) for f in frames(path, start, 6)]
    crops = [crop(f, p) for f, p in seen if p is not None]
    if len(crops) < 6:
        return None
    meshes = [mesh_net.on_crop(c)[0] for c in crops]
    es, hs, gazes = [embed(c) for c in crops], [judge(c)["hse"] for c in crops], [iris(c, m) for c, m in zip(crops, meshes)]
    floor = [shape_error(a, b) for a, b in zip(meshes, meshes[1:])]
    rows = {"consecutive frames": dict(cos=float(np.mean([a @ b for a, b in zip(es, es[1:])])), hse=float(np.mean([a @ b for a, b in zip(hs, hs[1:])])), land=np.mean([f[0] for f in floor]), opened=np.mean([f[1] for f in floor]),
                                       gaze=100 * np.mean([np.abs(a - b).mean() for a, b in zip(gazes, gazes[1:])]), pose=np.mean([f[2] for f in floor]), next=float("nan"), sharp=1.0, found=1.0)}
    sheet = [np.hstack(crops)]
    for name, mode, kw in RUNS:
        kw = dict(kw)
        if "asked" in kw:
            kw["attributes"] = dict(sex=1 - pack.like(es[0])[0], age=kw.pop("asked"))
        weights, outs, d = None, [], []
        for c, m, e in zip(crops, meshes, es):
            r = pack.run(mode, c, m, es[0], seed=seed, embed=embed, weights=weights, **kw)
            weights = r["weights"]
            outs.append(r["out"])
            q, flag = mesh_net.on_crop(r["out"])
            land, opened, ang = shape_error(m, q)
            core = r["alpha"] > 0.6
            d.append(dict(cos=float(e @ embed(r["out"])), hse=float(judge(c)["hse"] @ judge(r["out"])["hse"]), land=land, opened=opened, pose=ang, found=flag > 0, sharp=sharpness(r["out"], core) / max(1e-6, sharpness(c, core)),
                          gaze=100 * float(np.abs(iris(r["out"], q) - iris(c, m)).mean())))
        oe = [embed(o) for o in outs]
        rows[name] = {k: float(np.mean([x[k] for x in d])) for k in d[0]} | dict(next=float(np.mean([a @ b for a, b in zip(oe, oe[1:])]) - np.mean([a @ b for a, b in zip(es, es[1:])])))
        sheet.append(np.hstack(outs))
    return rows, np.vstack(sheet).clip(0, 255).astype(np.uint8)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--pack", default=os.path.join(HERE, "..", "nullface-128"))
    ap.add_argument("--videos", required=True)
    ap.add_argument("--small", default=os.path.join(HERE, "..", "small"))
    ap.add_argument("--eval", default=os.path.join(HERE, "..", "eval"))
    ap.add_argument("--precision", default="fp32")
    ap.add_argument("--start", type=int, default=20)
    ap.add_argument("--seed", type=int, default=3)
    ap.add_argument("--only", help="only films whose names start with one of these, split by semicolons")
    ap.add_argument("--sheet")
    a = ap.parse_args()
    cv2.setNumThreads(1)
    paths = [p for p in sorted(glob.glob(os.path.join(a.videos, "*.mp4"))) if not a.only or any(os.path.basename(p).startswith(k) for k in a.only.split(";"))]
    if not paths:
        data.fail(f"read films in {a.videos}", "*.mp4", "none", "give --videos FOLDER")
    pack = Pack(a.pack, a.precision)
    nets = small.Recogniser(a.small), small.Mesh(a.small), Faces(a.small), Judges(a.eval), small.Iris(a.small)
    every, sheets = {}, []
    for n, path in enumerate(paths):
        r = film(path, pack, nets, a.start, a.seed + n)
        if r is None:
            print(f"skip {os.path.basename(path)}: expected a face in six frames from {a.start} on, got fewer", file=sys.stderr)
            continue
        sheets.append(r[1])
        for k, v in r[0].items():
            every.setdefault(k, []).append(v)
    if not every:
        data.fail(f"measure {a.videos}", "a film with a face in six consecutive frames", "none", "choose another --start")
    print("| six frames | cos to source | HSE cos | landmarks % | openings % | gaze % | pose ° | mesh | sharpness | next frame's cos, beside the source's |\n|---|---|---|---|---|---|---|---|---|---|")
    for k, v in every.items():
        m = {c: float(np.mean([x[c] for x in v])) for c in v[0]}
        print(f"| {k} | {m['cos']:.2f} | {m['hse']:.2f} | {m['land']:.1f} | {m['opened']:.1f} | {m['gaze']:.1f} | {m['pose']:.1f} | {100 * m['found']:.0f} % | {m['sharp']:.2f} | {m['next']:+.3f} |")
    print(f"n = {len(sheets)} films of {len(paths)}, six frames each from frame {a.start} on.")
    if a.sheet:
        cv2.imwrite(a.sheet, np.vstack(sheets)[..., ::-1])


if __name__ == "__main__":
    main()
