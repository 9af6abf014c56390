"""The pack's modes on one crop, in Python, as the model card states them: what evaluate.py measures and a check for engines.

Limits: one crop at a time, first-order SDE steps (equal to the 2M solver for one step and at its first), the shape's own
coefficients from this single crop instead of a track's mean.
"""
import hashlib
import os
import tomllib

import cv2
import numpy as np

import data
import geometry as g
import likeness
import pairs
import small
from basisio import read_basis

DRAWS, RENDERS, RENDERS_MOST, FAR_ENOUGH, AIM, SHAPE_SHARE = 512, 12, 36, 0.08, -0.05, 0.2    # choice of a track's target, README.md
MOST_DRAWS, NEAR_SHARE, SHAPE_BOOSTS = 9, 0.8 * 0.5, (1.0, 1.5, 2.0)      # of a person who came too near, as the engine draws again
LAMBDAS = {1: [0.5], 2: [0.5, 1.5], 4: [0.5, 5 / 6, 7 / 6, 1.5]}


def unshuffle(rgb):
    """128x128x3 grey levels -> 1x48x32x32 latent."""
    z = rgb.astype(np.float32) / 127.5 - 1
    return np.ascontiguousarray(z.transpose(2, 0, 1).reshape(3, 32, 4, 32, 4).transpose(0, 2, 4, 1, 3).reshape(1, 48, 32, 32))


def shuffle(z):
    p = z.reshape(3, 4, 4, 32, 32).transpose(0, 3, 1, 4, 2).reshape(3, 128, 128).transpose(1, 2, 0)
    return (p + 1) * 127.5


def unit(v):
    return (v / (np.linalg.norm(v) + 1e-12)).astype(np.float32)


def leant(apart, source, lean):
    """`apart`, orthogonal to `source`, turned to the other side of it: lean = sine of the angle; the length stays."""
    return np.sqrt(1 - lean * lean) * apart - lean * np.linalg.norm(apart) / (np.linalg.norm(source) + 1e-12) * source


class Pack:
    def __init__(self, folder, precision="fp32", threads=1):
        self.folder = folder
        path = os.path.join(folder, "pack.toml")
        if not os.path.exists(path):
            data.fail(f"open pack {folder}", "pack.toml", "none", "run export.py")
        self.toml = tomllib.load(open(path, "rb"))
        for k, f in self.toml["files"].items():
            raw = open(os.path.join(folder, f["path"]), "rb").read()
            if hashlib.sha256(raw).hexdigest() != f["sha256"]:
                data.fail(f"open pack {folder}", f"files.{k} of sha256 {f['sha256'][:12]}", hashlib.sha256(raw).hexdigest()[:12], "export again")
        s = lambda key: small.session(os.path.join(folder, self.toml["files"][key]["path"]), threads)
        self.denoiser = s(self.toml["denoiser"]["files"][precision])
        self.enc, self.dec, self.non, self.gate = (s("id2face_" + k) for k in ("encoder", "decoder", "non_identity", "gate"))
        self.basis = read_basis(os.path.join(folder, "basis"))
        self.composite = tomllib.load(open(os.path.join(folder, "basis", "basis.toml"), "rb"))["composite"]

    def x0(self, x, prior, lam, identity=None, attributes=None):
        one = lambda v: np.float32([v])
        return self.denoiser.run(None, {"x": x.astype(np.float32), "prior": prior.astype(np.float32), "lambda": one(lam), "identity": np.zeros((1, 192), np.float32) if identity is None else identity[None].astype(np.float32),
                                        "identity_mask": np.float32([[identity is not None]]), "attributes": np.zeros((1, 17), np.float32) if attributes is None else attributes[None].astype(np.float32)})[0]

    def like(self, e):
        """Sex, age and group of a source as the basis' linear probe reads them from its embedding."""
        v = self.basis.probe[:, :-1] @ e + self.basis.probe[:, -1]
        return int(v[0] > 0), float(np.clip(v[1], 0, 100)), int(np.argmax(v[2:]))

    def promise(self, w, e, own=None):
        """How like the source a mixture will look, painted: in cosines, up to a constant of the source."""
        b, shapes = self.basis, w @ self.basis.shapes
        if b.likeness is None:
            length = lambda v: np.linalg.norm(v) + 1e-6
            q, t = (None if own is None else own / b.mode_sd), shapes / b.mode_sd
            return float(pairs.target_embedding(b, w) @ e) + (0.0 if q is None else SHAPE_SHARE * float(q @ t) / (length(q) * length(t)))
        unlike = 0.0 if own is None else float(likeness.unlike_shape(b, self.composite["shape_clamp_sd"], shapes, own) @ b.likeness_shape)
        return float(w @ (b.likeness[:, :-1] @ e + b.likeness[:, -1])) + unlike

    def target(self, e, sex, age, group, rng, own=None, asked=(), look=None):
        """Mixture of a track: of DRAWS, the RENDERS that promise to be least like the source in looks and shape, and further ones up to
        RENDERS_MOST while none looks FAR_ENOUGH; of these, where look(weights) -> embedding of the rendered composite is given, the one
        whose cosine to the source is nearest to AIM: far, yet not so far on the other side that -e could be searched for. own: the
        source's shape coefficients."""
        ws = sorted((pairs.draw_target(self.basis, rng, sex, age, group, asked) for _ in range(DRAWS)), key=lambda w: self.promise(w, e, own))
        if look is None:
            return ws[0]
        best, gap = ws[0], np.inf
        for n, w in enumerate(ws[:RENDERS_MOST]):
            if n >= RENDERS and gap <= FAR_ENOUGH - AIM:
                break
            off = abs(float(look(w) @ e) - AIM)
            if off < gap:
                best, gap = w, off
        return best

    def place(self, crop144, mesh, weights, strength=None):
        """The composite of a mixture on a 144 px crop (a crop of 128 in its ring)."""
        tex, shape = g.mix(self.basis, weights)
        c = self.composite
        moved = self.basis.moved_mesh(mesh, shape, strength=c["shape_strength"] if strength is None else strength, clamp_sd=c["shape_clamp_sd"])
        return g.Placement(crop144, mesh, self.basis, c, moved=moved).paint(tex)

    def edit(self, base, mask, steps, condition, noise, w, null=None, residual=True, lambdas=None):
        """base, result: 1x48x32x32; condition(x, lam) -> identity vector or None; null: attributes of the promoted branch."""
        lams = lambdas or LAMBDAS[steps]
        al = lambda l: (float(np.sqrt(1 / (1 + np.exp(-2 * l)))), float(np.sqrt(1 / (1 + np.exp(2 * l)))))
        cur = None
        for i, lam in enumerate(lams):
            a, s = al(lam)
            xt = a * base + s * noise[i]
            cur = xt if cur is None else cur
            fc = self.x0(cur, base, lam, *condition(cur, lam))
            if residual:
                ref_cur = ref_x = base
            else:
                ref_cur = self.x0(cur, base, lam, None, null)
                ref_x = ref_cur if i == 0 and null is None else self.x0(xt, base, lam)
            if i == len(lams) - 1:
                return base + mask * ((ref_cur - ref_x) + w * (fc - ref_cur))
            a2, s2 = al(lams[i + 1])
            h = lams[i + 1] - lam
            carry, dat = s2 / s * np.exp(-h), a2 * (1 - np.exp(-2 * h))
            cur = a2 * base + s2 * noise[i + 1] + mask * (carry * (cur - xt) + dat * (ref_cur - ref_x) + w * dat * (fc - ref_cur))

    def run(self, mode, crop144, mesh, e, seed, steps=1, policy=None, attributes=None, w=None, lambdas=None, embed=None, weights=None, attempt=0):
        """crop144 RGB 0..255 float; embed(144 px picture) -> unit embedding, for choosing the target; attributes: what is asked for (sex, age);
        attempt: how many draws came too near before; returns dict(out 144x144x3, prior, alpha, weights)."""
        more = [attempt] if attempt else []
        rng = np.random.default_rng([seed, *more] if attempt else seed)
        strength = self.composite["shape_strength"] * SHAPE_BOOSTS[min(attempt, 2)]
        asked = attributes or {}
        sex, age, group = (asked.get(k, v) for k, v in zip(("sex", "age", "group"), self.like(e)))
        age = pairs.age_drawn(age, self.like(e)[1]) if "age" in asked else age
        look = embed and (lambda ws: embed(self.place(crop144, mesh, ws, strength)["picture"]))
        if weights is None:
            own = self.basis.shape_coefficients(mesh)[0]
            weights = self.target(e, sex, age, group, np.random.default_rng([seed, 1, *more]), own, asked, look)
        c = self.place(crop144, mesh, weights, strength)
        if mode == "prior":
            return dict(out=c["picture"], prior=c["picture"], alpha=c["alpha"], weights=weights)
        cut = lambda z: z[8:136, 8:136]
        ramp = np.minimum(np.arange(128), np.arange(128)[::-1]).astype(np.float32) / 6
        alpha = cut(c["alpha"]) * np.clip(np.minimum(ramp[:, None], ramp[None]), 0, 1)
        base = unshuffle(cut(c["picture"]))
        mask = unshuffle(np.repeat(alpha[..., None], 3, 2) * 127.5 + 127.5)
        noise = rng.standard_normal((max(LAMBDAS), 1, 48, 32, 32)).astype(np.float32)
        own = pairs.target_embedding(self.basis, weights)
        at = data.attributes(int(asked.get("age", -1)), int(asked.get("sex", -1)), int(asked.get("group", -1))) if asked else np.zeros(17, np.float32)
        r = rng.standard_normal(192).astype(np.float32)
        lean = self.toml["defaults"][mode].get("lean", 0.0)       # of `orthogonal`, for its output: hair, light and lips stay the source's
        orth = unit(leant(unit(r - (r @ e) * e), e, lean))
        residual, null, w0 = True, None, 1.0
        if mode == "id2face":
            z_s = self.enc.run(["mean"], {"identity": e[None]})[0][0]
            z_r = rng.standard_normal(len(z_s)).astype(np.float32)
            z_a = z_r - (z_r @ z_s) / (z_s @ z_s) * z_s
            z_a = leant(z_a * np.linalg.norm(z_r) / np.linalg.norm(z_a), z_s, lean)
            ea = self.dec.run(None, {"latent": z_a[None].astype(np.float32)})[0] if policy != "ksame" else own[None]
            n = self.non.run(None, {"x": unshuffle(cut(crop144))})[0]
            cond = lambda x, lam: (self.gate.run(None, {"x": x.astype(np.float32), "lambda": np.float32([lam]), "identity": ea, "non_identity": n})[0][0], None)
        elif mode == "reverse":
            residual, w0, null = False, -1.0, (at if asked else None)
            c_id = e if policy in (None, "repel") else None
            if policy == "orthogonal":
                residual, w0, c_id = True, 1.0, orth
            elif policy == "ksame":
                residual, w0, c_id = True, 1.0, own
            cond = lambda x, lam: (c_id, at if residual and asked else None)
        else:
            c_id = {"ksame": own, "negate": -e, "orthogonal": orth}[policy or {"ksame": "ksame", "nullface": "negate"}[mode]]
            cond = lambda x, lam: (c_id, at)
        z = self.edit(base, mask, steps, cond, noise, w0 if w is None else w, null, residual, lambdas)
        out = c["picture"].copy()
        out[8:136, 8:136] = shuffle(z)
        return dict(out=out.clip(0, 255), prior=c["picture"], alpha=c["alpha"], weights=weights)

    def run_again(self, mode, crop144, mesh, e, seed, embed, weights=None, **kw):
        """`run`, and again with another target and more shape while the result comes nearer to the source than a new face may."""
        for attempt in range(MOST_DRAWS):
            r = self.run(mode, crop144, mesh, e, seed, embed=embed, weights=None if attempt else weights, attempt=attempt, **kw)
            if float(embed(r["out"]) @ e) < NEAR_SHARE * self.toml["identity"]["same_person_cos"]:
                break
        return r
