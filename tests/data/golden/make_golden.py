"""Golden numbers of the diffusion engine: a float64 NumPy implementation of the published z form.

The engine runs the bracket form, in which the noise z has been substituted away. This script does not: it inverts
to z maps and samples with them, as the papers write it, so that equality of the two is a test of the algebra and of
the code. Run `python make_golden.py` (NumPy only) beside this file; it writes diffusion.json and noise.json.

The denoiser is a smooth map through fixed matrices, raw = g tanh(P x + l lambda/4 + R id + S attr + U prior), read
as eps, v or x0. Numbers that the engine takes as f32 are rounded to f32 before use.
"""
import hashlib
import json
import math
import os

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
C, H, W, NID, NATTR, FACES, MOST = 3, 2, 2, 4, 2, 2, 50
N = C * H * W
f32 = lambda a: np.asarray(a, np.float32).astype(np.float64)
SD = {"kind": "scaled-linear", "beta_start": 0.00085, "beta_end": 0.012, "steps": 1000}
COSINE = {"kind": "cosine", "shift": 0.5, "lambda_min": -5.0, "lambda_max": 5.0}


def make_world():
    g = np.random.default_rng(2026)
    unit = lambda a: a / np.linalg.norm(a, axis=-1, keepdims=True)
    P = g.normal(size=(N, N))
    P *= 0.7 / np.linalg.norm(P, 2)
    # The second face has hard zeros, so that pinning shows.
    plane = np.array([[0.0, 0.25, 1.0, 0.75], [1.0, 0.0, 0.5, 0.0]])
    full = np.concatenate([plane, plane[:, ::-1], 1 - plane], axis=1)
    return {
        "gain": 0.9, "P": P, "l": g.normal(size=N) * 0.5, "R": g.normal(size=(N, NID)) * 0.6, "S": g.normal(size=(N, NATTR)) * 0.4,
        "U": g.normal(size=(N, N)) * 0.1, "x0": f32(g.normal(size=(FACES, N)) * 0.6), "prior": f32(g.normal(size=(FACES, N)) * 0.6),
        "noise": f32(g.normal(size=(FACES, MOST, N))), "source": f32(unit(g.normal(size=(FACES, NID)))), "target": f32(unit(g.normal(size=(FACES, NID)))),
        "attributes": f32([1.0, 0.0]), "plane": f32(plane), "full": f32(full),
    }


# Schedules and times ---------------------------------------------------------------------------------------------

def sd_alpha_bar():
    return np.cumprod(1 - np.linspace(SD["beta_start"] ** 0.5, SD["beta_end"] ** 0.5, SD["steps"]) ** 2)


def lam_of(spec, t):
    if spec["kind"] == "cosine":
        return float(np.clip(math.log(spec["shift"]) - math.log(math.tan(math.pi * t / 2)), spec["lambda_min"], spec["lambda_max"]))
    ab = sd_alpha_bar()[int(t)]
    return 0.5 * math.log(ab / (1 - ab))


def levels(spec, spacing, steps):
    """lambda of every level, noisiest first."""
    rule, discrete = spacing["rule"], spec["kind"] != "cosine"
    if rule == "lambda":
        return list(np.linspace(spacing["start"], spacing["end"], steps)) if steps > 1 else [spacing["start"]]
    if rule == "ddim":
        kept = steps - round(spacing["skip"] * steps)
        times = [(1000 // steps) * j + 1 for j in range(kept)][::-1] if discrete else [j / steps for j in range(kept, 0, -1)]
    elif discrete:
        times = np.linspace(1000 * (1 - spacing["skip"]) - 1, 1, steps) + 1e-6
    else:
        times = np.linspace(1 - spacing["skip"], 1e-3, steps)
    return [lam_of(spec, t) for t in times]


alpha_of = lambda lam: math.sqrt(1 / (1 + math.exp(-2 * lam)))
sigma_of = lambda lam: math.sqrt(1 / (1 + math.exp(2 * lam)))


# Denoiser --------------------------------------------------------------------------------------------------------

def raw(w, x, lam, identity, mask, attributes, prior):
    return w["gain"] * np.tanh(w["P"] @ x + w["l"] * lam / 4 + w["R"] @ (identity * mask) + w["S"] @ attributes + w["U"] @ prior)


def noise_prediction(w, case, face, x, lam, told, cond):
    a, s = alpha_of(lam), sigma_of(lam)
    identity, mask, attributes = cond
    o = raw(w, x, told, identity, mask, attributes, w["prior"][face] if case["prior"] else np.zeros(N))
    if case["prediction"] == "eps":
        return o
    return s * x + a * o if case["prediction"] == "v" else (x - a * o) / s


# Solvers: mu(x, eps, history) and the standard deviation of the step -----------------------------------------------

class Pass:
    """One pass of a solver, with its own multistep history."""

    def __init__(self, case, lams):
        self.case, self.lams, self.before = case, lams, None

    def step(self, i, x, eps, keep=None):
        """Returns mu and s of step i; keep = (positions, data prediction) overrides the data prediction there."""
        case, lams = self.case, self.lams
        a, s, last = alpha_of(lams[i]), sigma_of(lams[i]), i + 1 == len(lams)
        m = (x - s * eps) / a
        if keep is not None:
            m = np.where(keep[0], keep[1], m)
            eps = (x - a * m) / s
        before, self.before, self.m = self.before, m, m
        if case["solver"] == "ddpm":
            ab_t, ab_p = a * a, 1.0 if last else alpha_of(lams[i + 1]) ** 2
            v = (1 - ab_p) / (1 - ab_t) * (1 - ab_t / ab_p)
            return math.sqrt(ab_p) * m + math.sqrt(max(0.0, 1 - ab_p - case["eta"] * v)) * eps, case["eta"] * math.sqrt(v)
        if last:
            return m, 0.0
        h = lams[i + 1] - lams[i]
        ap, sp = alpha_of(lams[i + 1]), sigma_of(lams[i + 1])
        d1 = 0.0 if i == 0 else (m - before) / ((lams[i] - lams[i - 1]) / h)
        if case["solver"] == "sde-dpmpp-2m":
            return sp / s * math.exp(-h) * x + ap * (1 - math.exp(-2 * h)) * (m + 0.5 * d1), sp * math.sqrt(1 - math.exp(-2 * h))
        return sp / s * x - ap * (math.exp(-h) - 1) * (m + 0.5 * d1), 0.0


def invert_ode(w, case, face, lams, told, x0, null):
    """Latents of the deterministic solver: first order step by step, then second-order sweeps."""
    n, eps_at = len(lams), lambda i, x: noise_prediction(w, case, face, x, lams[i], told[i], null)
    xs = [None] * n + [x0]
    for i in range(n - 1, -1, -1):
        a, s = alpha_of(lams[i]), sigma_of(lams[i])
        ap, sp = (1.0, 0.0) if i + 1 == n else (alpha_of(lams[i + 1]), sigma_of(lams[i + 1]))
        x = xs[i + 1]
        for _ in range(case["inversion"]["iterations"]):
            x = a / ap * xs[i + 1] + (s - sp * a / ap) * eps_at(i, x)
        xs[i] = x
    for _ in range(case["inversion"]["sweeps"]):
        eps = [eps_at(i, xs[i]) for i in range(n)]
        data = [(xs[i] - sigma_of(lams[i]) * eps[i]) / alpha_of(lams[i]) for i in range(n)]
        for i in range(n - 1, -1, -1):
            a, s = alpha_of(lams[i]), sigma_of(lams[i])
            if i + 1 == n:
                xs[i] = a * x0 + s * eps[i]
                continue
            h, ap, sp = lams[i + 1] - lams[i], alpha_of(lams[i + 1]), sigma_of(lams[i + 1])
            k = 0.0 if i == 0 else 0.5 / ((lams[i] - lams[i - 1]) / h)
            b = ap * (1 - math.exp(-h))
            # x_p = (sp/s) x + b ((1 + k) (x - s eps)/a - k data_before), for x.
            known = xs[i + 1] + b * (1 + k) * s / a * eps[i] + (b * k * data[i - 1] if i else 0.0)
            xs[i] = known / (sp / s + b * (1 + k) / a)
    return xs


# The edit --------------------------------------------------------------------------------------------------------

def edit(w, case, face):
    if case["shift"] == "one-step-lower":
        both = levels(case["schedule"], case["spacing"], case["steps"] + 1)
        told, lams = both[:-1], both[1:]
    else:
        lams = told = levels(case["schedule"], case["spacing"], case["steps"])
    n, x0 = len(lams), w["prior"][face] if case["from_prior"] else w["x0"][face]
    zero, attr0 = np.zeros(NID), np.zeros(NATTR)
    null = (zero, 0.0, attr0)
    promoted = (zero, 0.0, w["attributes"]) if case["attributes"] and case["guidance"] < 0 else null
    identity = {"negate": -w["source"][face], "repel": w["source"][face], "target": w["target"][face]}[case["identity"]]
    cond = (f32(identity), 1.0, w["attributes"] if case["attributes"] and case["guidance"] >= 0 else attr0)
    M = {"none": np.ones(N), "plane": np.tile(w["plane"][face], C), "full": w["full"][face]}[case["mask"]]
    if case["solver"] == "dpmpp-2m":
        xs = invert_ode(w, case, face, lams, told, x0, null)
    else:
        xs = [alpha_of(lams[i]) * x0 + sigma_of(lams[i]) * w["noise"][face, i] for i in range(n)] + [x0]
    predict = lambda i, x, c: noise_prediction(w, case, face, x, lams[i], told[i], c)
    stock = lambda i, x: (x - alpha_of(lams[i]) * x0) / sigma_of(lams[i])

    # Inversion: z maps (or, where the step adds no noise, the residual itself).
    inv, z, s_of, data = Pass(case, lams), [], [], []
    for i in range(n):
        mu, s = inv.step(i, xs[i], stock(i, xs[i]) if case["residual_guidance"] else predict(i, xs[i], null))
        data.append(inv.m)
        s_of.append(s)
        r = xs[i + 1] - mu
        if i + 1 == n and case["drop_final_residual"]:
            r = np.zeros(N)
        z.append(r / s if s > 0 else r)

    # Sampling.
    sam, x = Pass(case, lams), xs[0]
    for i in range(n):
        u = stock(i, x) if case["residual_guidance"] else predict(i, x, promoted)
        e = u + case["guidance"] * (predict(i, x, cond) - u)
        if case["rescale"]:
            e = case["rescale"] * e * np.std(u) / np.std(e) + (1 - case["rescale"]) * e
        masked = i >= (min(case["mask_delay"], n - 1) if case["pinned"] else case["mask_delay"])
        keep = None
        if masked:
            e = (1 - M) * u + M * e
            keep = (M == 0, data[i]) if case["pinned"] else None
        mu, s = sam.step(i, x, e, keep)
        x = mu + (s if s_of[i] > 0 else 1.0) * z[i]
        if keep is not None:
            x = np.where(M == 0, xs[i + 1], x)
    return x


BASE = {"schedule": SD, "solver": "ddpm", "spacing": {"rule": "linspace", "skip": 0.4}, "steps": 4, "eta": 1.0, "shift": "none", "prediction": "eps",
        "guidance": 3.0, "rescale": 0.0, "identity": "negate", "attributes": False, "prior": False, "from_prior": False, "residual_guidance": False,
        "mask": "none", "mask_delay": 0, "pinned": True, "drop_final_residual": False, "inversion": {"iterations": 3, "sweeps": 2}}
MODES = {
    "nullface": {"guidance": 3.0, "identity": "negate"},
    "reverse": {"guidance": -3.0, "identity": "repel", "attributes": True},
    "id2face": {"schedule": COSINE, "prediction": "v", "guidance": 1.5, "identity": "target", "attributes": True},
    "ksame": {"schedule": COSINE, "prediction": "x0", "guidance": 1.0, "identity": "target", "prior": True, "from_prior": True, "residual_guidance": True},
}


def cases():
    for solver in ("ddpm", "sde-dpmpp-2m", "dpmpp-2m"):
        for mode, settings in MODES.items():
            for mask in ({"mask": "none"}, {"mask": "plane", "mask_delay": 1}):
                for steps in (1, 2, 4, 10, 50):
                    yield f"{mode} {solver} mask={mask['mask']} steps={steps}", {**BASE, **settings, **mask, "solver": solver, "steps": steps}
        yield f"published mask {solver}", {**BASE, "solver": solver, "mask": "full", "pinned": False, "steps": 6, "mask_delay": 2}
        yield f"full mask {solver}", {**BASE, "solver": solver, "mask": "full", "steps": 6}
        yield f"rescale {solver}", {**BASE, "solver": solver, "rescale": 0.7, "mask": "plane", "guidance": 6.0}
        yield f"rescale residual {solver}", {**BASE, **MODES["ksame"], "solver": solver, "rescale": 0.5, "guidance": 2.0}
        yield f"turbo shift {solver}", {**BASE, "solver": solver, "shift": "one-step-lower", "steps": 3, "guidance": 2.0}
        yield f"even in lambda {solver}", {**BASE, "schedule": COSINE, "solver": solver, "spacing": {"rule": "lambda", "start": -0.5, "end": 2.0}, "steps": 5, "prediction": "v"}
        yield f"residual with a mask {solver}", {**BASE, "solver": solver, "residual_guidance": True, "guidance": 0.5, "mask": "plane", "steps": 5}
    paper = {"steps": 100, "pinned": False}
    yield "nullface-paper", {**BASE, **paper, "spacing": {"rule": "ddim", "skip": 0.7}, "guidance": 10.0, "mask": "plane", "mask_delay": 10, "drop_final_residual": True}
    yield "reverse-paper", {**BASE, **MODES["reverse"], **paper, "steps": 50, "solver": "sde-dpmpp-2m", "spacing": {"rule": "linspace", "skip": 0.7}, "guidance": -10.0}
    yield "half noise", {**BASE, "eta": 0.5, "steps": 8}


def stream(seed, purpose, subject, index, count):
    """The engine's secret stream by its definition, with the library's logarithm."""
    secret = hashlib.sha256(b"nullface seed 1" + seed.to_bytes(8, "little")).digest()
    key = hashlib.sha256(b"nullface stream 1" + secret + bytes([purpose]) + subject.to_bytes(8, "little") + index.to_bytes(4, "little")).digest()
    words, n, out = [], 0, []

    def uniform():
        nonlocal words, n
        if not words:
            b = hashlib.sha256(key + n.to_bytes(8, "little")).digest()
            words, n = [int.from_bytes(b[i:i + 4], "little") for i in range(0, 32, 4)], n + 1
        return (words.pop(0) + 0.5) / 2 ** 32

    while len(out) < count:
        u, v = 2 * uniform() - 1, 2 * uniform() - 1
        s = u * u + v * v
        if 0 < s < 1:
            f = math.sqrt(-2 * math.log(s) / s)
            out += [u * f, v * f]
    return out[:count]


def main():
    w = make_world()
    for k in ("P", "l", "R", "S", "U"):
        w[k] = np.asarray(w[k]).round(6)
    out = []
    for name, case in cases():
        expected = np.stack([edit(w, case, f) for f in range(FACES)])
        assert np.isfinite(expected).all() and np.abs(expected).max() < 50, (name, np.abs(expected).max())
        out.append({"name": name, **case, "expected": expected.round(8).tolist()})
    ab = sd_alpha_bar()
    world = {k: (np.asarray(v, np.float64).tolist() if not np.isscalar(v) else v) for k, v in w.items()}
    data = {"channels": C, "height": H, "width": W, "identity": NID, "attributes_len": NATTR, "world": world, "alpha_bar": {str(t): float(ab[t]) for t in (0, 199, 299, 499, 799, 999)}, "cases": out}
    with open(os.path.join(HERE, "diffusion.json"), "w") as f:
        f.write("{\n" + ",\n".join(f"{json.dumps(k)}: " + (json.dumps(v) if k != "cases" else "[\n" + ",\n".join(json.dumps(c) for c in v) + "\n]") for k, v in data.items()) + "\n}\n")
    noise = [{"seed": s, "purpose": p, "subject": t, "index": i, "values": stream(s, p, t, i, 24)} for s, p, t, i in ((1, 0, 7, 0), (1, 0, 7, 1), (2, 0, 7, 0), (1, 1, 2 ** 40 + 3, 5))]
    with open(os.path.join(HERE, "noise.json"), "w") as f:
        json.dump(noise, f, indent=0)
    print(len(out), "cases")


if __name__ == "__main__":
    main()
