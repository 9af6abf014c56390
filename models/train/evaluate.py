"""The table of figures: every mode of a pack on held-out people, beside blur, pixelation and a solid fill.

  python evaluate.py --pack ../nullface-128 --data FACES [--n 120] [--sheet sheet.png] [--card]
Judges: the steering recogniser (proves little) and two held-out ones with the thresholds of models/eval/manifest.toml.
Expression: mesh landmarks of mouth, eyes and brows after a similarity fit (this counts the shape that is moved on purpose), and
the openings of mouth and eyes (which it does not); noise floor = the same figures between a crop and itself shifted by 2 px and
compressed (JPEG 75), since the set holds no consecutive frames.
Sex, age and group of a source are estimated from the basis, as at run time; what is asked of `reverse` starts from the index's labels, else HSE's.
Limits: one crop a person, portraits and TV frames; films.py looks at film.
"""
import argparse
import datetime
import json
import os
import sys
import time
import tomllib

import cv2
import numpy as np

import data
import geometry as g
import small
from modes import Pack

HERE = os.path.dirname(os.path.abspath(__file__))
FRECHET_DIMS = 16
FEATURES = g.LIPS_OUTER + g.EYE_LEFT + g.EYE_RIGHT + g.BROW_LEFT + g.BROW_RIGHT
RUNS = [  # name, mode, settings
    ("k-same prior alone", "prior", {}),
    ("ksame, 1 step", "ksame", dict(steps=1)), ("ksame, 2 steps", "ksame", dict(steps=2)), ("ksame, 4 steps", "ksame", dict(steps=4)),
    ("ksame, orthogonal", "ksame", dict(policy="orthogonal")),
    ("nullface, negate", "nullface", dict(policy="negate")), ("nullface, orthogonal", "nullface", dict(policy="orthogonal")), ("nullface, orthogonal, drawn again where near", "nullface", dict(policy="orthogonal", again=True)), ("nullface, ksame", "nullface", dict(policy="ksame")),
    ("reverse, repel", "reverse", dict(policy="repel")), ("reverse, orthogonal", "reverse", dict(policy="orthogonal")), ("reverse, attributes", "reverse", dict(policy="repel", attributes="asked")),
    ("id2face, orthogonal", "id2face", dict(policy="orthogonal")), ("id2face, ksame", "id2face", dict(policy="ksame"))]


class Judges:
    """Held-out networks by their manifest: crop, normalise, run."""

    def __init__(self, folder, threads=1):
        path = os.path.join(folder, "manifest.toml")
        if not os.path.exists(path):
            data.fail(f"open judges {folder}", "manifest.toml", "none", "give --eval FOLDER (models/eval)")
        self.m = {m["name"]: m for m in tomllib.load(open(path, "rb"))["model"]}
        self.s = {k: small.session(os.path.join(folder, self.m[k]["file"]), threads) for k in ("hse-faceres", "faceapi-resnet")}

    def input(self, name, crop):
        i, c = self.m[name]["input"][0], self.m[name]["crop"]
        side = i["shape"][1]
        scale = side / (128 * (1 + 2 * c["margin_template"]))
        left = 8 - c["margin_template"] * 128
        top = left + c["down_template"] * 128
        t = np.array([[scale, 0, scale * (.5 - left) - .5], [0, scale, scale * (.5 - top) - .5]])
        x = cv2.warpAffine(crop.astype(np.float32), t, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        if i["channels"] == "BGR":
            x = x[..., ::-1]
        return (((x - np.float32(i["mean"])) / np.float32(i["std"]))[None]).astype(np.float32)

    def api(self, crop):
        f = self.s["faceapi-resnet"]
        return f.run(None, {f.get_inputs()[0].name: self.input("faceapi-resnet", crop)})[0][0]

    def __call__(self, crop):
        h = self.s["hse-faceres"]
        names = [o.name for o in h.get_outputs()]
        out = dict(zip(names, h.run(None, {h.get_inputs()[0].name: self.input("hse-faceres", crop)})))
        e = out["embedding"][0]
        age = float((out["age"][0] * np.arange(out["age"].shape[1])).sum() / out["age"][0].sum())
        return dict(hse=e / np.linalg.norm(e), age=age, male=float(out["sex"].reshape(-1)[0]), api=self.api(crop))


class Detector:
    def __init__(self, folder):
        self.s = small.session(small.find(folder, "detector"))
        self.i = self.s.get_inputs()[0].name

    def __call__(self, crop):
        """Highest heatmap value of the crop on a grey field of 288 px."""
        im = np.full((288, 288, 3), 127, np.float32)
        im[72:216, 72:216] = crop
        return float(self.s.run(None, {self.i: im.transpose(2, 0, 1)[None]})[0].max())


def openings(p):
    d = lambda a, b: np.linalg.norm(p[a, :2] - p[b, :2])
    return np.array([d(13, 14), d(61, 291), d(159, 145), d(386, 374)]) / g.iod(p)


def shape_error(p, q):
    """Percent of iod: landmarks after a similarity fit on the rigid points; and openings."""
    s, r, t = g.similarity3(q[g.RIGID], p[g.RIGID])
    q2 = s * q @ r.T + t
    land = 100 * np.linalg.norm((q2 - p)[FEATURES, :2], axis=1).mean() / g.iod(p)
    ang = float(np.degrees(np.arccos(np.clip((np.trace(r) - 1) / 2, -1, 1))))
    return land, 100 * np.abs(openings(p) - openings(q)).mean(), ang


def sharpness(im, mask):
    y = cv2.cvtColor(im.clip(0, 255).astype(np.uint8), cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float(cv2.Laplacian(y, cv2.CV_32F)[mask].var())


def frechet(a, b):
    """Fréchet distance of Gaussians fitted to two sets of feature rows."""
    from scipy.linalg import sqrtm
    ca, cb = np.cov(a.T), np.cov(b.T)
    eye = 1e-4 * np.eye(len(ca))
    root = sqrtm((ca + eye) @ (cb + eye))
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root.real))


def classical(kind, x, mesh):
    m = np.zeros(x.shape[:2], np.uint8)
    cv2.fillPoly(m, [np.round(mesh[g.OVAL, :2]).astype(np.int32)], 1)
    if kind == "solid":
        y = np.full_like(x, 127)
    elif kind == "blur":
        y = g.blur(x, 0.25 * g.iod(mesh))
    else:
        x0, y0, w, h = cv2.boundingRect(m)
        y = x.copy()
        y[y0:y0 + h, x0:x0 + w] = cv2.resize(cv2.resize(x[y0:y0 + h, x0:x0 + w], (8, 8), interpolation=cv2.INTER_AREA), (w, h), interpolation=cv2.INTER_NEAREST)
    return np.where(m[..., None] > 0, y, x)


def jitter(x):
    m = np.float32([[1, 0, 2], [0, 1, -2]])
    y = cv2.warpAffine(x.astype(np.float32), m, (144, 144), borderMode=cv2.BORDER_REFLECT_101).clip(0, 255).astype(np.uint8)
    return cv2.imdecode(cv2.imencode(".jpg", y, [cv2.IMWRITE_JPEG_QUALITY, 75])[1], cv2.IMREAD_COLOR).astype(np.float32)


def held_out(folder, n, seed):
    """One row a person, labels known where the set has them."""
    return data.one_each(folder, "1", n, seed, 70)


def boot(v, rng):
    """Mean and its 95 % interval over people."""
    v = np.asarray(v, float)
    m = [rng.choice(v, len(v)).mean() for _ in range(500)]
    return v.mean(), np.quantile(m, 0.025), np.quantile(m, 0.975)


def measure(a):
    cv2.setNumThreads(1)
    pack = Pack(a.pack, a.precision)
    rec, mesh_net, det, judge, iris = small.Recogniser(a.small), small.Mesh(a.small), Detector(a.small), Judges(a.eval), small.Iris(a.small)
    thr = {"hse": judge.m["hse-faceres"]["thresholds"]["far_1e-3"]["threshold"], "api": judge.m["faceapi-resnet"]["thresholds"]["far_1e-3"]["threshold"], "mfn": pack.toml["identity"]["same_person_cos"]}
    thr2 = {k: judge.m[n]["thresholds"]["far_1e-2"]["threshold"] for k, n in (("hse", "hse-faceres"), ("api", "faceapi-resnet"))}
    rows = held_out(a.data, a.n, a.seed)
    emb = lambda im: rec(small.to112(im[8:136, 8:136])[None])[0]
    runs = [r for r in RUNS if not a.modes or any(r[0].startswith(m) for m in a.modes.split(";"))]
    table = {k: [] for k in ["itself, jittered", "solid", "blur", "pixelate 8x8"] + [r[0] for r in runs]}
    tiles, reals = [], []
    stop = time.time() + 60 * a.minutes
    for n, (row, x) in enumerate(rows):
        if time.time() > stop:
            print(f"time is up after {n} of {len(rows)} people: the table has those", file=sys.stderr)
            break
        x = x.astype(np.float32)
        p, flag = mesh_net.on_crop(x)
        if flag <= 0:
            continue
        e, j = emb(x), judge(x)
        reals.append(j["api"])
        num = lambda k: int(row[k]) if row[k] != "" else -1
        labels = (num("sex") if num("sex") >= 0 else int(j["male"] < 0.5), num("age") if num("age") >= 0 else int(j["age"]), num("group"))
        asked = dict(sex=1 - labels[0], age=[25, 65][n % 2])
        gaze = iris(x, p)
        inner = np.zeros((144, 144), np.uint8)
        cv2.fillPoly(inner, [np.round(p[g.OVAL, :2]).astype(np.int32)], 1)
        outs = {"itself, jittered": jitter(x), "solid": classical("solid", x, p), "blur": classical("blur", x, p), "pixelate 8x8": classical("pixelate", x, p)}
        alpha, chosen = None, {}                    # one target a person and request, as a track has it
        for name, mode, kw in runs:
            kw = dict(kw)
            if kw.get("attributes"):
                kw["attributes"] = asked
            run = pack.run_again if kw.pop("again", False) else pack.run
            try:
                r = run(mode, x, p, e, seed=1000 + n, embed=emb, weights=chosen.get(bool(kw.get("attributes"))), **kw)
            except g.Degenerate as err:
                print(f"{row['file']}: {err}", file=sys.stderr)
                continue
            outs[name] = r["out"]
            if run == pack.run:
                alpha, chosen[bool(kw.get("attributes"))] = r["alpha"], r["weights"]
        core = (alpha > 0.6) if alpha is not None and (alpha > 0.6).sum() > 200 else inner > 0
        src_sharp = sharpness(x, core)
        for name, im in outs.items():
            k, eo = judge(im), emb(im)
            q, f = mesh_net.on_crop(im)
            land, opened, ang = shape_error(p, q)
            table[name].append(dict(cos=float(e @ eo), mfn=float(e @ eo) > thr["mfn"], hse=float(j["hse"] @ k["hse"]) > thr["hse"], api=float(np.linalg.norm(j["api"] - k["api"])) < thr["api"],
                                    hse_cos=float(j["hse"] @ k["hse"]), hse2=float(j["hse"] @ k["hse"]) > thr2["hse"], api2=float(np.linalg.norm(j["api"] - k["api"])) < thr2["api"],
                                    gaze=100 * float(np.abs(iris(im, q) - gaze).mean()), land=land, opened=opened, pose=ang, mesh=f > 0, found=det(im) > 0.5, sharp=sharpness(im, core) / max(src_sharp, 1e-6), feat=k["api"],
                                    sex_ok=(k["male"] < 0.5) == bool(asked["sex"]), age_ok=abs(k["age"] - asked["age"]) <= 15, decade_ok=abs(k["age"] // 10 - asked["age"] // 10) <= 1))
        if n < a.sheet_people:
            keep = [x] + [outs[k] for k in outs if k in a.sheet_modes.split(";")]
            tiles.append(np.vstack([t.clip(0, 255).astype(np.uint8) for t in keep]))
        if n % 10 == 9:
            print(f"{n + 1} of {len(rows)}", file=sys.stderr, flush=True)
    if a.sheet and tiles:
        cv2.imwrite(a.sheet, np.hstack(tiles)[..., ::-1])
    return table, np.array(reals)


def report(table, reals, a):
    rng = np.random.default_rng(0)
    rows, n = [], len(reals)
    half = np.arange(n) % 2 == 0          # outputs of one half against the originals of the other
    # 128 dimensions need thousands of faces; the first directions of the real ones need tens
    _, _, vt = np.linalg.svd(reals - reals.mean(0), full_matrices=False)
    axes = vt[:FRECHET_DIMS].T
    for name, v in table.items():
        if not v:
            continue
        col = lambda k: [d[k] for d in v]
        c, lo, hi = boot(col("cos"), rng)
        feat = np.array(col("feat"))
        fd = frechet(feat[half[:len(feat)]] @ axes, reals[~half] @ axes) if len(feat) == n else float("nan")
        rows.append(dict(name=name, n=len(v), cos=c, lo=lo, hi=hi, mfn=np.mean(col("mfn")), hse=np.mean(col("hse")), api=np.mean(col("api")), hse_cos=np.mean(col("hse_cos")), hse2=np.mean(col("hse2")), api2=np.mean(col("api2")), gaze=np.median(col("gaze")), acos=np.mean(np.abs(col("cos"))), decade_ok=np.mean(col("decade_ok")), land=np.median(col("land")), opened=np.median(col("opened")),
                         pose=np.median(col("pose")), found=np.mean(np.array(col("found"))), mesh=np.mean(col("mesh")), sharp=np.median(col("sharp")), fd=fd, sex_ok=np.mean(col("sex_ok")), age_ok=np.mean(col("age_ok"))))
    pix = next((r["fd"] for r in rows if r["name"].startswith("pixelate")), float("nan"))
    out = ["| mode | cos to source (95 %) | TAR steering | TAR HSE | TAR face-api | same at FAR 1e-2: HSE, face-api | landmarks % | openings % | gaze % | pose ° | CenterFace | mesh | sharpness | Fréchet / pixelate |", "|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"]
    for r in rows:
        out.append(f"| {r['name']} | {r['cos']:.3f} ({r['lo']:.2f} to {r['hi']:.2f}) | {100 * r['mfn']:.1f} % | {100 * r['hse']:.1f} % | {100 * r['api']:.1f} % | {100 * r['hse2']:.0f} %, {100 * r['api2']:.0f} % | {r['land']:.1f} | {r['opened']:.1f} | {r['gaze']:.1f} | {r['pose']:.1f} | {100 * r['found']:.0f} % | {100 * r['mesh']:.0f} % | {r['sharp']:.2f} | {r['fd'] / pix:.2f} |")
    at = next((r for r in rows if r["name"] == "reverse, attributes"), None)
    if at:
        out.append(f"\nAttributes asked of `reverse` (other sex; age 25 or 65): sex obtained {100 * at['sex_ok']:.0f} %, age within 15 years {100 * at['age_ok']:.0f} %, within one decade {100 * at['decade_ok']:.0f} %, by HSE-FaceRes.")
    floor = rows[0]
    out.append("\nMultiples of the noise floor (first row): " + "; ".join(f"{r['name']}: openings {r['opened'] / floor['opened']:.1f}, gaze {r['gaze'] / floor['gaze']:.1f}, pose {r['pose'] / floor['pose']:.1f}, landmarks {r['land'] / floor['land']:.1f}" for r in rows[4:]) + ".")
    out.append(f"\nn = {rows[0]['n']} held-out people, {datetime.date.today()}, {a.precision}, seed {a.seed}; TAR at the FAR 1e-3 thresholds of models/eval; medians for landmarks, openings, gaze, pose, sharpness; Fréchet over the first {FRECHET_DIMS} directions of face-api's features.")
    return "\n".join(out), rows


def many(a):
    """Fréchet distances over enough people to decide: outputs of one half of `--n` people against originals of the other half, first 16
    directions of face-api's features. Targets are chosen without the painted look (faster; no matter for realism)."""
    cv2.setNumThreads(1)
    pack, rec, mesh_net, judge = Pack(a.pack, a.precision), small.Recogniser(a.small), small.Mesh(a.small), Judges(a.eval)
    rows = held_out(a.data, a.n, a.seed)
    real = np.array([judge.api(x.astype(np.float32)) for _, x in rows[1::2]])
    sets = {k: [] for k in ["originals (the floor)", "pixelate 8x8", "k-same prior alone", "ksame, 1 step", "nullface, negate", "reverse, repel", "id2face, orthogonal"]}
    for n, (row, x) in enumerate(rows[::2]):
        x = x.astype(np.float32)
        p, flag = mesh_net.on_crop(x)
        if flag <= 0:
            continue
        e, w, outs = rec(small.to112(x[8:136, 8:136])[None])[0], None, {"originals (the floor)": x, "pixelate 8x8": classical("pixelate", x, p)}
        try:
            for name, mode, kw in RUNS:
                if name in sets:
                    r = pack.run(mode, x, p, e, seed=1000 + n, weights=w, **kw)
                    outs[name], w = r["out"], r["weights"]
        except g.Degenerate as err:
            print(f"{row['file']}: {err}", file=sys.stderr)
            continue
        for k in sets:
            sets[k].append(judge.api(outs[k]))
    _, _, vt = np.linalg.svd(real - real.mean(0), full_matrices=False)
    axes = vt[:FRECHET_DIMS].T
    fd = {k: frechet(np.array(v) @ axes, real @ axes) for k, v in sets.items()}
    print("| " + " | ".join(fd) + " |\n|" + "---|" * len(fd) + "\n| " + " | ".join(f"{v / fd['pixelate 8x8']:.2f}" for v in fd.values()) + " |")
    print(f"Fréchet distance as a share of pixelate's; {len(sets['pixelate 8x8'])} outputs against {len(real)} originals of other held-out people.")


def contributors(a):
    """How like its contributors each texture is, by every recogniser: portrait of the texture against each person's own crop. Reported,
    never gated on, for the held-out ones; basis.py gates by the steering one."""
    import basis as stage0
    pack, judge, rec = Pack(a.pack), Judges(a.eval), small.Recogniser(a.small)
    path = os.path.join(a.work, "basis-people.npz")
    if not os.path.exists(path):
        data.fail(f"open {path}", "the people of the basis", "none", "run basis.py with this --work, or give the folder it ran with")
    people, z = np.load(path), data.load(a.work)
    row = {n: i for i, n in enumerate(z["name"])}
    b, frame = pack.basis, z["x"][np.nonzero(z["hold"] == 0)[0][:3000:3]].astype(np.float32).mean(0)
    mesh = np.median(z["mesh"][[row[n] for v in people.values() for n in v]], 0)
    t = {k: judge.m[n]["thresholds"]["far_1e-3"]["threshold"] for k, n in (("hse", "hse-faceres"), ("api", "faceapi-resnet"))}
    rng, used = np.random.default_rng(0), {n for v in people.values() for n in v}
    rows = {k: dict(n=0, mfn=0, hse=0, api=0, near_mfn=-1.0, near_hse=-1.0, near_api=9.0) for k in ("contributors", "others of the same sex, group and age")}
    for i, lab in enumerate(b.labels):
        im = stage0.portrait(b.textures[i], b.canonical, b.triangles_all, mesh, frame)
        e, j = rec(small.to112(im[8:136, 8:136])[None])[0], judge(im)
        same = np.nonzero((z["hold"] == 0) & (z["sex"] == lab["sex"]) & (z["group"] == lab["group"]) & (z["age"] >= lab["age_min"]) & (z["age"] <= lab["age_max"]) & (z["sharp"] > 200))[0]
        same = [int(r) for r in rng.permutation(same) if z["name"][r] not in used][: len(people[str(i)])]
        for k, who in zip(rows, ([row[n] for n in people[str(i)]], same)):
            r = rows[k]
            for w in who:
                o = judge(z["x"][w].astype(np.float32))
                mfn, hse, api = float(e @ z["e"][w]), float(j["hse"] @ o["hse"]), float(np.linalg.norm(j["api"] - o["api"]))
                r["n"] += 1
                r["mfn"] += mfn > lab["far_1e3_cos"]
                r["hse"] += hse > t["hse"]
                r["api"] += api < t["api"]
                r["near_mfn"], r["near_hse"], r["near_api"] = max(r["near_mfn"], mfn), max(r["near_hse"], hse), min(r["near_api"], api)
    print("| portrait of a texture against | pairs | over FAR 1e-3: steering | HSE-FaceRes | face-api | nearest: cos, HSE cos, face-api distance |\n|---|---|---|---|---|---|")
    for k, r in rows.items():
        print(f"| {k} | {r['n']} | {100 * r['mfn'] / r['n']:.1f} % | {100 * r['hse'] / r['n']:.1f} % | {100 * r['api'] / r['n']:.1f} % | {r['near_mfn']:.2f}, {r['near_hse']:.2f}, {r['near_api']:.2f} |")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--pack", default=os.path.join(HERE, "..", "nullface-128"))
    ap.add_argument("--data", required=True)
    ap.add_argument("--small", default=os.path.join(HERE, "..", "small"))
    ap.add_argument("--eval", default=os.path.join(HERE, "..", "eval"))
    ap.add_argument("--precision", default="fp32")
    ap.add_argument("--n", type=int, default=120)
    ap.add_argument("--minutes", type=float, default=600, help="report on the people measured by then")
    ap.add_argument("--seed", type=int, default=5)
    ap.add_argument("--modes", help="only modes whose names start with one of these, split by semicolons")
    ap.add_argument("--sheet")
    ap.add_argument("--sheet-people", type=int, default=12)
    ap.add_argument("--sheet-modes", default="k-same prior alone;ksame, 1 step;nullface, negate;reverse, repel;reverse, attributes;id2face, orthogonal")
    ap.add_argument("--frechet", action="store_true", help="instead: Fréchet distances alone, over many people (--n 600)")
    ap.add_argument("--contributors", action="store_true", help="instead: the basis' textures against the people in them (needs --work)")
    ap.add_argument("--work", default=os.path.join(HERE, "runs"))
    ap.add_argument("--json", help="also write all rows here")
    a = ap.parse_args()
    if a.frechet:
        many(a)
        sys.exit(0)
    if a.contributors:
        contributors(a)
        sys.exit(0)
    if a.n < 4:
        data.fail("evaluate", "--n of at least 4", a.n, "give more people")
    text, rows = report(*measure(a), a)
    print(text)
    if a.json:
        json.dump(rows, open(a.json, "w"), indent=1, default=float)
