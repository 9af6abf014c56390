"""Stage 0: the k-same basis: textures and shapes that are each the mean of at least eight people.

What: picks frontal, sharp, closed-mouth training faces, lays them on one canonical mesh, averages them in places
(sex, group, age), gives the average the fine contrast of a single person back, and writes plain files (README.md, "Basis").
Why averages: a texture that belongs to nobody can be painted on anybody. Why trimmed: one pair of glasses or one moustache
among twelve leaves a ghost in a plain mean. Why the gain: a mean of n people has 1/sqrt(n) of the skin's grain.
Limits: labels of the training rows are taken as they are; people of one place who look alike end in one texture.
Every texture is checked: its portrait must not be nearer to any contributor than the recogniser's FAR 1e-3 threshold, first
the general one, and where too few people are left to swap in, the one measured among strangers of the same place
(children look alike to recognisers); a texture that meets neither is an error.
"""
import argparse
import os
import sys
import tomllib

import cv2
import numpy as np
from scipy.spatial import Delaunay

import data
import geometry as g
import small
from basisio import read_basis, write_basis, write_mask

HERE = os.path.dirname(os.path.abspath(__file__))
SKIN_MOST = 1.3          # of the cheeks' power in a band: the most that synthetic skin gets anywhere
# sex (0 male, 1 female), groups (0 White, 1 Black, 2 Asian, 3 Indian, 4 other; None = all), ages from..to, textures
PLACES = [(s, gr, lo, hi, n) for s in (0, 1) for gr, lo, hi, n in [
    (None, 0, 5, 1), (None, 6, 13, 1),
    ((0,), 14, 19, 1), ((0,), 20, 29, 5), ((0,), 30, 39, 4), ((0,), 40, 49, 3), ((0,), 50, 59, 3), ((0,), 60, 69, 2), ((0,), 70, 90, 1),
    ((3,), 18, 29, 2), ((3,), 30, 44, 1), ((3,), 45, 70, 1), ((2,), 18, 29, 1), ((2,), 30, 65, 1), ((1,), 16, 34, 1), ((1,), 35, 70, 1),
    ((4,), 18, 29, 1), ((4,), 30, 60, 1)]]


def candidates(z):
    """Rows fit to contribute, and their pose-free meshes in units of iod."""
    m = z["mesh"]
    unit = np.linalg.norm(m[:, 33, :2] - m[:, 263, :2], axis=1)
    yaw = np.abs((m[:, 1, 0] - m[:, 33, 0]) - (m[:, 263, 0] - m[:, 1, 0])) / unit
    gap = np.linalg.norm(m[:, 13, :2] - m[:, 14, :2], axis=1) / unit
    box_lo, box_hi = m[..., :2].min(1), m[..., :2].max(1)
    v = z["valid"]
    brow = m[:, g.BROW_LEFT + g.BROW_RIGHT, 1].min(1)
    # many crops end just above the brows or at the temples: what is missing there is filled with the person's own skin
    inside = (brow >= v[:, 1] + 4) & (box_hi[:, 1] <= v[:, 3] + 4) & (box_lo[:, 0] >= v[:, 0] - 10) & (box_hi[:, 0] <= v[:, 2] + 10) & (box_lo[:, 1] >= v[:, 1] - 16)
    base = (z["hold"] == 0) & (z["source"] == "utk") & (z["age"] >= 0) & (z["sex"] >= 0) & (z["face_px"] > 115) & inside & (yaw < 0.20)
    return base & (z["sharp"] > 200) & (gap < 0.075), (z["hold"] == 0) & (yaw < 0.25) & (gap > 0.13)


def aligned(meshes, rounds=4):
    """Generalised Procrustes on the rigid points: local shapes (n x 468 x 3, iod units) and their mean."""
    local = (meshes - meshes.mean(1, keepdims=True)) / np.linalg.norm(meshes[:, 33, :2] - meshes[:, 263, :2], axis=1)[:, None, None]
    mean = local.mean(0)
    for _ in range(rounds):
        for i in range(len(local)):
            s, r, t = g.similarity3(local[i][g.RIGID], mean[g.RIGID])
            local[i] = s * local[i] @ r.T + t
        mean = local.mean(0)
        k = g.iod(mean)
        mean, local = mean / k, local / k
    return local, mean


def canonical_mesh(mean, opened, size):
    """Texture-space points, triangles drawn, all triangles. The mouth is a little open, so that lips have a topology."""
    c2 = (0.6 * mean + 0.4 * opened)[:, :2]
    k = 0.90 * size / np.ptp(c2, 0).max()
    c = ((c2 - (c2.max(0) + c2.min(0)) / 2) * k + (size - 1) / 2).astype(np.float32)
    tri = Delaunay(c).simplices
    poly = c[g.OVAL].astype(np.float32).reshape(-1, 1, 2)
    tri = np.array([t for t in tri if cv2.pointPolygonTest(poly, tuple(map(float, c[t].mean(0))), False) > 0])
    a, b, d = c[tri[:, 0]], c[tri[:, 1]], c[tri[:, 2]]
    area = (b[:, 0] - a[:, 0]) * (d[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (d[:, 0] - a[:, 0])
    tri[area < 0] = tri[area < 0][:, [0, 2, 1]]
    open_sets = [set(g.LIPS_INNER), set(g.EYE_LEFT), set(g.EYE_RIGHT)]
    hole = np.array([any(set(map(int, t)) <= s for s in open_sets) for t in tri])
    return c, tri[~hole].astype(np.int32), tri.astype(np.int32)


def keep_openings(modes, c):
    """Lips and lids move as blocks: a shape that opened or closed them would change the expression. Other points near
    them follow by distance."""
    out = modes.copy()
    for ring, part in ((g.LIPS_OUTER + g.LIPS_INNER, g.LIPS_OUTER), (g.EYE_LEFT, g.EYE_LEFT), (g.EYE_RIGHT, g.EYE_RIGHT)):
        d = np.min(np.linalg.norm(c[:, None] - c[None, ring], axis=2), 1) / g.iod(c)
        w = (1 - g.smoothstep(d, 0.0, 0.12))[None, :, None]
        out = (1 - w) * out + w * modes[:, part].mean(1, keepdims=True)
    return out


def masks(c, size, lips_alpha):
    """R: alpha, 0 at the rim, the eyes and the inner lips, `lips_alpha` on the lips; G: where hair or a hand may win over the texture;
    B: the forehead, which is painted bare: textures hold the fringes and folds of those they are means of."""
    u = g.iod(c)

    def dist(poly, inside):
        m = np.zeros((size, size), np.uint8)
        cv2.fillPoly(m, [np.round(c[poly] * 16).astype(np.int32)], 1, shift=4)
        return cv2.distanceTransform(m if inside else 1 - m, cv2.DIST_L2, 5) / u
    rim = dist(g.OVAL, True)
    alpha = g.smoothstep(rim, 0.01, 0.15)
    for eye in (g.EYE_LEFT, g.EYE_RIGHT):
        alpha = alpha * g.smoothstep(dist(eye, False), 0.0, 0.035)
    alpha = alpha * g.smoothstep(dist(g.LIPS_INNER, False), 0.0, 0.03)
    alpha = alpha * (lips_alpha + (1 - lips_alpha) * g.smoothstep(dist(g.LIPS_OUTER, False), 0.0, 0.1))
    brow_y = c[g.BROW_LEFT + g.BROW_RIGHT, 1].min()
    yy = np.arange(size, dtype=np.float32)[:, None]
    forehead = g.smoothstep((brow_y - yy) / u, 0.05, 0.15)
    occl = np.maximum(1 - g.smoothstep(rim, 0.12, 0.30), forehead * (1 - g.smoothstep(rim, 0.3, 0.5)))
    return np.stack([alpha, occl, g.smoothstep((brow_y - yy) / u, 0.03, 0.15) * (rim > 0)], -1).astype(np.float32)


def to_canonical(picture, mesh, valid, c, tri, size):
    """Texture and which texels are real; those outside the photograph are filled with smooth skin of the same face."""
    mx, my, idx = g.sample_map(np.concatenate([c, np.zeros((468, 1), np.float32)], 1), mesh[:, :2], tri, size, size)
    t = cv2.remap(picture, mx, my, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)
    real = (idx >= 0) & (mx >= valid[0] + 2) & (my >= valid[1] + 2) & (mx <= valid[2] - 3) & (my <= valid[3] - 3)
    m = real.astype(np.float32)
    fill = masked_low(t, m, 0.06 * size)
    far = g.blur(m, 0.06 * size)[..., None] < 0.02
    fill = np.where(far, masked_low(t, m, 0.2 * size), fill)
    soft = cv2.erode(m, np.ones((3, 3))) if m.min() < 1 else m
    soft = np.minimum(g.blur(soft, 1.5), m)[..., None]
    return t * soft + fill * (1 - soft), real


def masked_low(t, m, sigma):
    return g.blur(t * m[..., None], sigma) / (g.blur(m, sigma)[..., None] + 1e-3)


def split(features, wanted, per, rng):
    """Assign rows to `wanted` places of `per`: seeds far apart, then each takes its nearest in turn."""
    seeds = [int(np.argmin(((features - features.mean(0)) ** 2).sum(1)))] if wanted == 1 else []
    d = ((features - features.mean(0)) ** 2).sum(1)
    order = np.argsort(d)[: max(per, int(0.8 * len(d)))]          # seeds are not the oddest people
    while len(seeds) < wanted:
        far = np.min([((features[order] - features[s]) ** 2).sum(1) for s in seeds], 0) if seeds else rng.random(len(order))
        seeds.append(int(order[int(np.argmax(far))]))
    taken, out = set(seeds), [[s] for s in seeds]
    for _ in range(per - 1):
        for o in out:
            left = [i for i in range(len(features)) if i not in taken]
            if left:
                centre = features[o].mean(0)
                i = min(left, key=lambda j: ((features[j] - centre) ** 2).sum())
                taken.add(i)
                o.append(i)
    return out, [i for i in range(len(features)) if i not in taken]


def smiles(meshes):
    """Width of the mouth and lift of its corners above the lips' middle, in iod: a texture should be painted at rest."""
    unit = np.linalg.norm(meshes[:, 33, :2] - meshes[:, 263, :2], axis=1)
    width = np.linalg.norm(meshes[:, 61, :2] - meshes[:, 291, :2], axis=1)
    lift = meshes[:, [13, 14], 1].mean(1) - meshes[:, [61, 291], 1].mean(1)
    return (width + 2 * lift) / unit


def trimmed(textures, trim):
    """Mean of n x H x W x 3 without the `trim` highest and lowest values of every texel and channel."""
    return np.sort(textures, 0)[trim:len(textures) - trim].mean(0)


def average(textures, cell, cfg, quiet, cheeks, rng):
    """One texture: the trimmed mean, its looks moved away from the place's mean face, the fine contrast of one person.

    textures n x H x W x 3; cell: mean of everybody of the place. A mean of twelve lies near the mean of all, and the mean
    face is a little like everybody; `distinct` times its own deviation makes it a face that one can tell from others.
    `quiet` H x W: 1 where skin is, 0 where hair, lips and lids draw lines that noise would smear."""
    trim, sigma = cfg["trim"], cfg["detail_sigma_px"]
    mean = trimmed(textures, trim)
    looks = mean - cell
    coarse = g.blur(looks, 6.0)
    looks = looks - (coarse - coarse[:, ::-1]) / 2                 # one side darker than the other is light, not looks
    mean = cell + cfg["distinct"] * looks
    low = g.blur(mean, sigma)
    single = np.mean([g.blur(((x - g.blur(x, sigma)) ** 2).mean(-1), 5) for x in textures], 0)
    own = g.blur(((mean - low) ** 2).mean(-1), 5)
    gain = np.clip(np.sqrt(single / (own + 0.5)), 1, cfg["detail_gain_max"])
    out = low + (mean - low) * g.blur(gain, 4)[..., None]
    out = np.clip(skin(out, textures, cfg, quiet, cheeks, rng), 0, 255)
    return np.clip(out + cfg["sharpen"] * (out - g.blur(out, 1.0)), 0, 255)      # what drawing by bilinear samples takes away


def bands(y, sigmas):
    """Differences of Gaussians of a plane, fine to coarse."""
    levels = [y] + [g.blur(y, s) for s in sigmas]
    return [a - b for a, b in zip(levels, levels[1:])]


def skin(texture, textures, cfg, quiet, cheeks, rng):
    """Adds synthetic skin: noise of random phase, brought in each band to the local contrast that the middle person has there.
    What is added belongs to nobody; only its amount is measured, as a median over people and blurred over 8 px."""
    luma = lambda z: z @ g.LUMA
    sigmas = cfg["skin_sigmas_px"]
    own = bands(luma(texture), sigmas)
    people = [bands(luma(x), sigmas) for x in textures]
    noise = bands(rng.standard_normal(texture.shape[:2]).astype(np.float32), sigmas)
    add = np.zeros(texture.shape[:2], np.float32)
    for k in range(len(sigmas)):
        power = lambda z: g.blur(z * z, 8.0)
        want = np.median([power(p[k]) for p in people], 0) * cfg["skin_share"]
        want = np.minimum(want, SKIN_MOST * np.median(want[cheeks]))     # a fringe or a beard is no skin
        lack = np.sqrt(np.clip(want - power(own[k]), 0, None))
        add += noise[k] / (noise[k].std() + 1e-6) * lack
    return texture + (add * quiet)[..., None] * (texture / (luma(texture)[..., None] + 8))


def portrait(texture, basis_c, tri_all, mesh, frame):
    """The texture as a 128 px face on an average picture: what the recogniser is asked about."""
    mx, my, idx = g.sample_map(mesh, basis_c, tri_all, *frame.shape[:2])
    m = np.zeros(frame.shape[:2], np.uint8)
    cv2.fillPoly(m, [np.round(mesh[g.OVAL, :2]).astype(np.int32)], 1)
    soft = g.smoothstep(cv2.distanceTransform(m, cv2.DIST_L2, 5), 0, 6)[..., None] * (idx >= 0)[..., None]
    return frame * (1 - soft) + cv2.remap(texture, mx, my, cv2.INTER_LINEAR) * soft


def label_probe(z, ridge=1.0):
    """Linear readout of the recogniser's embedding: 7 x 193 (192 weights and a constant a row): sex (above 0 = female), age in years, and
    a score for each of five groups. On the other half of the training people: sex right in 94 %, age within 8 years on average;
    the vote of the seven nearest textures reached 80 % and 14 years."""
    ok = (z["hold"] == 0) & (z["sex"] >= 0) & (z["age"] >= 0) & (z["group"] >= 0)
    x = np.concatenate([z["e"][ok], np.ones((ok.sum(), 1))], 1).astype(np.float64)
    y = np.concatenate([2.0 * z["sex"][ok][:, None] - 1, z["age"][ok][:, None], np.eye(5)[z["group"][ok]]], 1)
    return np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ y).T


def build(work, out, small_folder, cfg, seed):
    z = data.load(work)
    b, rng = cfg["basis"], np.random.default_rng(seed)
    size, per = b["size_px"], b["contributors"]
    fit, opened = candidates(z)
    rows = np.nonzero(fit)[0]
    if len(rows) < 2 * per:
        data.fail("build basis", f"at least {2 * per} frontal sharp faces", len(rows), "give more or better crops")
    local, mean = aligned(z["mesh"][rows].astype(np.float64))
    _, open_mean = aligned(z["mesh"][np.nonzero(opened)[0][:600]].astype(np.float64))
    s, r, t = g.similarity3(open_mean[g.RIGID], mean[g.RIGID])
    open_mean = s * open_mean @ r.T + t
    c, tri, tri_all = canonical_mesh(mean, open_mean, size)
    mask = masks(c, size, b["lips_alpha"])

    # shape modes: PCA of neutral shapes; read with the points that expression hardly moves, applied fading out at the rim
    k = b["shape_modes"]
    flat = (local - mean).reshape(len(local), -1)
    _, sv, vt = np.linalg.svd(flat - flat.mean(0), full_matrices=False)
    modes, sd = vt[:k].reshape(k, 468, 3), sv[:k] / np.sqrt(len(flat))
    quiet = np.ones((468, 3))
    low_face = c[:, 1] > c[2, 1] + 0.10 * g.iod(c)               # below the nose's base
    quiet[low_face] = 0.0
    quiet[g.OVAL] = np.where(low_face[g.OVAL, None], 0.3, 1.0)
    u = modes.reshape(k, -1).T
    noise = 0.006
    project = np.linalg.solve((u * quiet.reshape(-1, 1)).T @ u + np.diag((noise / sd) ** 2), (u * quiet.reshape(-1, 1)).T)
    rim = np.array([cv2.pointPolygonTest(c[g.OVAL].reshape(-1, 1, 2), tuple(map(float, q)), True) for q in c]) / g.iod(c)
    fade = g.smoothstep(rim, 0.0, 0.25)
    modes = keep_openings(modes * fade[None, :, None], c) * np.array(b["shape_mode_strength"])[:k, None, None]
    coef = flat @ project.T

    where = {int(row): i for i, row in enumerate(rows)}
    frame = z["x"][np.nonzero(z["hold"] == 0)[0][:3000:3]].astype(np.float32).mean(0)
    mean_mesh = np.median(z["mesh"][rows], 0)
    rec = small.Recogniser(small_folder)

    def embed(texture):
        return rec(small.to112(portrait(texture, c, tri_all, mean_mesh, frame)[8:136, 8:136])[None])[0]
    full = np.zeros((size, size), np.float32)
    cv2.fillPoly(full, [np.round(c[g.OVAL]).astype(np.int32)], 1.0)
    near_eyes = np.zeros((size, size), np.float32)
    un = g.iod(c)
    for eye in (g.EYE_LEFT, g.EYE_RIGHT):
        cv2.circle(near_eyes, tuple(map(int, c[eye].mean(0))), int(0.36 * un), 1.0, -1)
    # where the rims of glasses run: the bridge, below the eyes, towards the temples; skin in a face without them
    frames, cheeks = np.zeros((size, size), np.float32), np.zeros((size, size), np.uint8)
    for q in (50, 280):
        cv2.circle(cheeks, tuple(int(v) for v in c[q]), int(0.14 * un), 1, -1)
    cheeks = cheeks > 0
    y168, y197 = c[168, 1], c[197, 1]
    frames[int(y168 - 0.05 * un):int(y197), int(c[243, 0]):int(c[463, 0]) + 1] = 1
    for inner, outer in ((133, 33), (362, 263)):
        x0, x1 = sorted((c[inner, 0], c[outer, 0]))
        frames[int(c[145, 1] + 0.10 * un):int(c[145, 1] + 0.30 * un), int(x0):int(x1)] = 1
    lines = np.zeros((size, size), np.float32)
    for part in (g.BROW_LEFT, g.BROW_RIGHT, g.EYE_LEFT, g.EYE_RIGHT, g.LIPS_OUTER):
        cv2.fillPoly(lines, [cv2.convexHull(np.round(c[part]).astype(np.int32))], 1.0)
    quiet = 1 - 0.75 * np.minimum(1, g.blur(cv2.dilate(lines, np.ones((5, 5))), 2.0))
    textures, shapes, labels, es = [], [], [], []
    for sex, groups, lo, hi, n in PLACES:
        ok = (z["sex"][rows] == sex) & (z["age"][rows] >= lo) & (z["age"][rows] <= hi)
        if groups is not None:
            ok &= np.isin(z["group"][rows], groups)
        pool = rows[ok]
        # the sharpest first, no more than are needed to choose from
        pool = pool[np.argsort(-np.minimum(z["sharp"][pool], 700))][: int(per * n * b["oversample"]) + 20]
        if len(pool) < per * n + 2:
            n = (len(pool) - 2) // per
        if n < 1:
            print(f"place sex={sex} groups={groups} age={lo}-{hi}: {len(pool)} people, {per + 2} needed: left out")
            continue
        # strangers of one place (above all children) are more alike than strangers at large: their own FAR 1e-3 counts
        e_all = z["e"][rows[ok]][:600]
        far = float(np.quantile((e_all @ e_all.T)[np.triu_indices(len(e_all), 1)], 0.999))
        raw = [to_canonical(z["x"][i].astype(np.float32), z["mesh"][i], z["valid"][i], c, tri_all, size) for i in pool]
        lows = [masked_low(x, m.astype(np.float32) * full, 0.2 * un) for x, m in raw]
        mean_low = np.mean(lows, 0)
        mean_low = (mean_low + mean_low[:, ::-1]) / 2
        tx = np.stack([np.clip(x - l + mean_low, 0, 255) for (x, _), l in zip(raw, lows)])
        detail = np.stack([g.blur((x - mean_low) @ np.float32([0.3, 0.6, 0.1]), 2.0) for x in tx])
        med = np.median(detail, 0)
        odd = (np.abs(detail - med) * (full + 3 * near_eyes)).mean((1, 2))
        rims = np.stack([(np.abs(np.diff(x, axis=0)) * frames[1:]).mean() for x in detail])
        smile = smiles(z["mesh"][pool])
        odd = odd / odd.std() + 1.5 * rims / rims.std() + 1.2 * smile / smile.std()
        keep = np.argsort(odd)[: max(per * n + 2, int(0.6 * len(pool)))]
        f = detail[keep] * full
        f = cv2.resize(f.transpose(1, 2, 0), (32, 32), interpolation=cv2.INTER_AREA).reshape(1024, -1).T if len(keep) <= 512 else f.reshape(len(keep), -1)
        uu, ss, _ = np.linalg.svd(f - f.mean(0), full_matrices=False)
        groups_idx, spare = split(uu[:, :8] * ss[:8], n, per, rng)
        cell = coef[[where[int(i)] for i in pool[keep]]].mean(0)
        cell_face = trimmed(tx[keep], len(keep) // 6)
        for members in groups_idx:
            best = None
            for _ in range(10):
                ids = pool[keep[members]]
                texture = average(tx[keep[members]], cell_face, b, quiet, cheeks, rng)
                e = embed(texture)
                cos = z["e"][ids] @ e
                if best is None or cos.max() < best[0]:
                    best = (float(cos.max()), ids, texture, e)
                if cos.max() < b["far_1e3_cos"] or not spare:
                    break
                members[int(np.argmax(cos))] = spare.pop(0)
            nearest, ids, texture, e = best
            if nearest >= max(b["far_1e3_cos"], far):
                sys.exit(f"texture sex={sex} groups={groups} age={lo}-{hi}: expected every contributor's cos below {max(b['far_1e3_cos'], far):.3f}, got {nearest:.3f} after swapping; lower the count of this place")
            own = coef[[where[int(i)] for i in ids]].mean(0)
            textures.append(texture)
            es.append(e)
            shapes.append(cell + np.sqrt(len(ids)) * b["shape_distinct"] * (own - cell))
            grp = int(np.bincount(z["group"][ids]).argmax())
            labels.append(dict(sex=int(sex), group=grp, age_min=int(z["age"][ids].min()), age_max=int(z["age"][ids].max()), age=int(round(z["age"][ids].mean())),
                               contributors=len(ids), per_texel=len(ids) - 2 * b["trim"], nearest_contributor_cos=round(nearest, 4), far_1e3_cos=round(max(b['far_1e3_cos'], far), 4), people=z["name"][ids].tolist()))
        print(f"sex={sex} groups={groups} age={lo}-{hi}: {n} textures from {len(pool)}, nearest contributor cos {max(l['nearest_contributor_cos'] for l in labels[-n:]):.3f}", flush=True)
    os.makedirs(out, exist_ok=True)
    write_basis(out, c, tri, tri_all, mask, np.stack(textures), mean, modes, sd, project, np.stack(shapes), np.stack(es), labels, cfg, label_probe(z))
    # who contributed stays with the training files (the re-identification check needs it); the pack only says how many
    np.savez(os.path.join(work, "basis-people.npz"), **{str(i): np.array(l["people"]) for i, l in enumerate(labels)})
    print(f"{len(textures)} textures -> {out}")


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--work", default=os.path.join(HERE, "runs"))
    ap.add_argument("--out", default=os.path.join(HERE, "..", "nullface-128", "basis"))
    ap.add_argument("--small", default=os.path.join(HERE, "..", "small"))
    ap.add_argument("--config", default=os.path.join(HERE, "config.toml"))
    ap.add_argument("--mask-only", action="store_true", help="draw the mask of a basis that is there anew; its textures stay")
    a = ap.parse_args()
    cv2.setNumThreads(1)
    conf = tomllib.load(open(a.config, "rb"))
    if a.mask_only:
        basis = read_basis(a.out)
        write_mask(a.out, masks(basis.canonical, basis.mask.shape[0], conf["basis"]["lips_alpha"]))
        sys.exit()
    build(a.work, a.out, a.small, conf, conf["basis"]["seed"])
    read_basis(a.out)
