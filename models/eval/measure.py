"""Thresholds of every recogniser in the manifests, measured on held-out people of a face set.

  python measure.py --faces DIR [--source ytf] [--rows hold|all] [--report FILE] [--crops]

Pairs: impostor = pictures of two people; genuine = two pictures of one person, "other film" or "same film": the file
name ends in film digit, frame digit and perhaps a letter (ytf/Name_21b.webp). --rows hold: hold=1 only; --rows all: every
person (without the lettered twins), fair too for networks that were trained elsewhere, and pairs enough for FAR 1e-4.
Threshold at FAR f: the similarity that a share f of impostor pairs reaches; TAR: share of genuine pairs above it.
An interval by bootstrap over people (not pairs) stands beside each, since pairs of one person are not independent.
A FAR is reported only if n impostor pairs * FAR >= 10. --crops tries other margins around the template and distances.
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
BOOTSTRAPS = {"hold": 200, "all": 30}  # all: millions of pairs a draw


def prepare(crop: np.ndarray, model: dict, margin: float, down: float) -> np.ndarray:
    """Crop of the set -> network input. margin: share of the template's side added on each side (negative: cut);
    down: shift of the window's middle, same unit. Beyond the stored picture it is mirrored."""
    import cv2
    i = model["input"][0]
    side = i["shape"][1]
    scale = side / (TEMPLATE_PX * (1 + 2 * margin))
    left = RING_PX - margin * TEMPLATE_PX
    top = left + down * TEMPLATE_PX
    # pixel centres: input (x + .5) = scale * (crop (x + .5) - left)
    m = np.array([[scale, 0, scale * (.5 - left) - .5], [0, scale, scale * (.5 - top) - .5]])
    x = cv2.warpAffine(crop, m, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101).astype(np.float32)
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


def measure(e: np.ndarray, people: np.ndarray, films: np.ndarray, distance: str, bootstraps: int) -> dict:
    s = similarity(e.astype(np.float64), distance).astype(np.float32)
    i, j = np.triu_indices(len(e), 1)
    s, same = s[i, j], people[i] == people[j]
    other = same & (films[i] != films[j])
    near = same & ~other
    order = np.argsort(s[~same])
    m, m1, m2 = s[~same][order], people[i][~same][order], people[j][~same][order]
    out = {"people": int(len(set(people))), "pictures": len(e), "impostor": len(m), "other_film": int(other.sum()), "same_film": int(near.sum()),
           "mean_impostor": float(m.mean()), "mean_other_film": float(s[other].mean()), "mean_same_film": float(s[near].mean()), "at": []}
    rng, ids = np.random.default_rng(5), np.unique(people)
    draws = [np.bincount(rng.choice(ids, len(ids)), minlength=ids.max() + 1) for _ in range(bootstraps)]
    sums = [np.cumsum(c[m1] * c[m2]) for c in draws] if len(m) < 1e6 else None
    for far in FARS:
        if len(m) * far < 10:
            continue
        th = float(np.quantile(m, 1 - far))
        row = {"far": far, "threshold": th, "tar_other_film": float((s[other] > th).mean()), "tar_same_film": float((s[near] > th).mean())}
        boots = []
        for k, c in enumerate(draws):
            cum = sums[k] if sums else np.cumsum(c[m1] * c[m2])
            b = m[min(np.searchsorted(cum, (1 - far) * cum[-1]), len(m) - 1)]
            w = c[people[i[other]]]
            boots.append((b, (w * (s[other] > b)).sum() / max(w.sum(), 1)))
        if boots:
            lo, hi = np.quantile(np.array(boots), (.025, .975), axis=0)
            row |= {"threshold_95": [float(lo[0]), float(hi[0])], "tar_other_film_95": [float(lo[1]), float(hi[1])]}
        out["at"].append(row)
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--faces", type=pathlib.Path, required=True)
    p.add_argument("--source", default="ytf")
    p.add_argument("--rows", choices=("hold", "all"), default="hold")
    p.add_argument("--report", type=pathlib.Path)
    p.add_argument("--crops", action="store_true")
    args = p.parse_args()
    data = list(t.real_crops(args.faces, 0, lambda r: r["source"] == args.source and r["identity"] and (r["hold"] == "1" if args.rows == "hold" else pathlib.Path(r["file"]).stem[-1].isdigit())))
    if len(data) < 50:
        raise SystemExit(f"{args.faces}: expected at least 50 held-out pictures of {args.source}, got {len(data)}")
    names, people = np.unique([r["identity"] for r, _ in data], return_inverse=True)
    films = np.array([int(pathlib.Path(r["file"]).stem.rsplit("_", 1)[1][0]) for r, _ in data])
    report = {}
    for folder in (HERE.parent / "small", HERE):
        for m in tomllib.loads((folder / "manifest.toml").read_text())["model"]:
            if m["role"] != "recogniser":
                continue
            s = t.session(folder / m["file"])
            tries = [(m["crop"]["margin_template"], m["crop"]["down_template"])] if not args.crops else [(a, b) for a in (-.05, 0.0, .05) for b in (0.0, .06, .125)]
            for margin, down in tries:
                x = np.stack([prepare(im, m, margin, down) for _, im in data])
                e = np.concatenate([s.run([m["embedding"]], {m["input"][0]["name"]: x[k:k + 16]})[0] for k in range(0, len(x), 16)])
                for distance in ([m["distance"]] if not args.crops else ["cosine", "euclidean"]):
                    r = measure(e, people, films, distance, 0 if args.crops else BOOTSTRAPS[args.rows])
                    r["mean_norm"] = float(np.linalg.norm(e, axis=1).mean())
                    report[f"{m['name']} {distance} margin {margin:g} down {down:g}"] = r
                    print(m["name"], distance, f"margin {margin:g} down {down:g}", {k: round(v, 3) for k, v in r.items() if k != "at"})
                    for a in r["at"]:
                        print("   ", {k: np.round(v, 3).tolist() if k != "far" else v for k, v in a.items()}, flush=True)
    t.save_report(args.report, report)


if __name__ == "__main__":
    main()
