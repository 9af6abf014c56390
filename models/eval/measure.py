"""Thresholds of every recogniser in the manifests, measured on held-out people of a face set.

  python measure.py --faces DIR [--source ytf] [--report FILE] [--crops]

Pairs: genuine = two pictures of one person from different films where the file name tells (…_NN… holds film and frame,
a trailing letter marks the twin of a frame), impostor = pictures of two people; all of hold=1 of the source, both sides.
Threshold at FAR f: the similarity that a share f of impostor pairs reaches; TAR: share of genuine pairs above it.
An interval by bootstrap over people (not pairs) stands beside each, since pairs of one person are not independent.
A FAR is reported only if n impostor pairs * FAR >= 10. --crops tries other margins around the template.
Limits: few people, TV frames of one data set: thresholds for measuring, no claim about other films.
"""
import argparse
import pathlib
import sys
import tomllib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "small"))
import onnx_tools as t

FARS = (1e-2, 1e-3, 1e-4)
RING_PX, TEMPLATE_PX = 8, 128  # the stored crops: template at 128 px inside a ring of 8
BOOTSTRAPS = 200


def prepare(crop: np.ndarray, model: dict, margin: float) -> np.ndarray:
    """Crop of the set -> network input; margin: share of the template's side added on each side (negative: cut)."""
    import cv2
    i = model["input"][0]
    side = i["shape"][1]
    grow = int(round(margin * TEMPLATE_PX))
    a, b = RING_PX - grow, RING_PX + TEMPLATE_PX + grow
    if a < 0:
        raise SystemExit(f"margin {margin}: expected at most {RING_PX / TEMPLATE_PX}")
    x = cv2.resize(crop[a:b, a:b], (side, side), interpolation=cv2.INTER_AREA if side < b - a else cv2.INTER_LINEAR).astype(np.float32)
    if i["channels"] == "BGR":
        x = x[..., ::-1]
    return (x - np.array(i["mean"], np.float32)) / np.array(i["std"], np.float32)


def similarity(e: np.ndarray, distance: str) -> np.ndarray:
    """Larger is more alike; for euclidean, minus the distance of the raw embeddings."""
    if distance == "cosine":
        e = e / np.linalg.norm(e, axis=1, keepdims=True)
        return e @ e.T
    q = (e * e).sum(1)
    return -np.sqrt(np.maximum(q[:, None] + q[None] - 2 * e @ e.T, 0))


def measure(e: np.ndarray, people: np.ndarray, twins: np.ndarray, distance: str) -> dict:
    s = similarity(e.astype(np.float64), distance)
    iu = np.triu_indices(len(e), 1)
    same = people[iu[0]] == people[iu[1]]
    gen_ok = same & (twins[iu[0]] != twins[iu[1]])
    g, m = s[iu][gen_ok], s[iu][~same]
    gp, m1, m2 = people[iu[0]][gen_ok], people[iu[0]][~same], people[iu[1]][~same]
    out = {"people": int(len(set(people))), "pictures": len(e), "genuine": len(g), "impostor": len(m),
           "mean_genuine": float(g.mean()), "mean_impostor": float(m.mean()), "at": []}
    rng, ids = np.random.default_rng(5), np.unique(people)
    for far in FARS:
        if len(m) * far < 10:
            continue
        th = float(np.quantile(m, 1 - far))
        boots = []
        for _ in range(BOOTSTRAPS):
            w = dict(zip(*np.unique(rng.choice(ids, len(ids)), return_counts=True)))
            c = np.array([w.get(i, 0) for i in range(ids.max() + 1)])
            wm, wg = c[m1] * c[m2], c[gp]
            order = np.argsort(m)
            cum = np.cumsum(wm[order])
            b = m[order][min(np.searchsorted(cum, (1 - far) * cum[-1]), len(m) - 1)]
            boots.append((b, (wg * (g > b)).sum() / max(wg.sum(), 1)))
        lo, hi = np.quantile(np.array(boots), (.025, .975), axis=0)
        out["at"].append({"far": far, "threshold": th, "threshold_95": [float(lo[0]), float(hi[0])], "tar": float((g > th).mean()), "tar_95": [float(lo[1]), float(hi[1])]})
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--faces", type=pathlib.Path, required=True)
    p.add_argument("--source", default="ytf")
    p.add_argument("--report", type=pathlib.Path)
    p.add_argument("--crops", action="store_true")
    args = p.parse_args()
    data = list(t.real_crops(args.faces, 0, lambda r: r["source"] == args.source and r["hold"] == "1" and r["identity"]))
    if len(data) < 50:
        raise SystemExit(f"{args.faces}: expected at least 50 held-out pictures of {args.source}, got {len(data)}")
    names, people = np.unique([r["identity"] for r, _ in data], return_inverse=True)
    _, twins = np.unique([pathlib.Path(r["file"]).stem.rstrip("abcdefgh") for r, _ in data], return_inverse=True)
    report = {}
    for folder in (HERE.parent / "small", HERE):
        for m in tomllib.loads((folder / "manifest.toml").read_text())["model"]:
            if m["role"] != "recogniser":
                continue
            s = t.session(folder / m["file"])
            tries = [m["crop"]["margin_template"]] if not args.crops else [-.15, -.1, -.05, 0.0, .03, RING_PX / TEMPLATE_PX]
            for margin in tries:
                x = np.stack([prepare(im, m, margin) for _, im in data])
                e = np.concatenate([s.run([m["embedding"]], {m["input"][0]["name"]: x[k:k + 16]})[0] for k in range(0, len(x), 16)])
                for distance in ([m["distance"]] if not args.crops else ["cosine", "euclidean"]):
                    r = measure(e, people, twins, distance)
                    r["mean_norm"] = float(np.linalg.norm(e, axis=1).mean())
                    report[f"{m['name']} {distance} margin {margin:g}"] = r
                    print(m["name"], distance, f"margin {margin:g}", {k: v for k, v in r.items() if k != "at"})
                    for a in r["at"]:
                        print(f"   FAR {a['far']:g}: threshold {a['threshold']:.3f} [{a['threshold_95'][0]:.3f}, {a['threshold_95'][1]:.3f}] TAR {a['tar']:.3f} [{a['tar_95'][0]:.3f}, {a['tar_95'][1]:.3f}]")
    t.save_report(args.report, report)


if __name__ == "__main__":
    main()
