"""Mesh geometry and the composite: how a canonical texture is laid on a face.

What: triangle rasteriser, shape move, light transfer, alpha; the one recipe that training and the run-time engine share
(README.md, "Composite recipe", states it step by step).
Why piecewise affine: two triangles' worth of arithmetic per pixel, no normal maps, nothing to tune.
Limits: 2-D drawing order by depth of the triangle's centre; a triangle facing away is not drawn; no hair model.
All pictures are RGB float32, 0..255, unless a name says otherwise. Points are in pixels of the picture, pixel centres at
integers.
"""
import cv2
import numpy as np

DETAIL_SIGMA_PX, DETAIL_GAIN_MAX = 3.0, 2.0        # as in config.toml [basis]
LUMA = np.float32([0.299, 0.587, 0.114])
LIPS_INNER = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95]
LIPS_OUTER = [61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146]
EYE_RIGHT = [33, 246, 161, 160, 159, 158, 157, 173, 133, 155, 154, 153, 145, 144, 163, 7]
EYE_LEFT = [362, 398, 384, 385, 386, 387, 388, 466, 263, 249, 390, 373, 374, 380, 381, 382]
BROW_RIGHT = [70, 63, 105, 66, 107, 55, 65, 52, 53, 46]
BROW_LEFT = [336, 296, 334, 293, 300, 285, 295, 282, 283, 276]
OVAL = [10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127, 162, 21, 54, 103, 67, 109]
# Points that hardly move with expression: they carry pose, and identity's shape is read from them and the oval.
RIGID = [33, 133, 362, 263, 168, 6, 197, 195, 5, 4, 1, 98, 327, 10, 109, 338, 127, 356, 234, 454, 9, 8]


def iod(points):
    """Distance between the outer eye corners, in the points' own unit."""
    return float(np.linalg.norm(points[33, :2] - points[263, :2]))


def similarity3(src, dst):
    """Least-squares scale s, rotation R, shift t with dst ~ s R src + t (Umeyama); n x 3 points."""
    mu_a, mu_b = src.mean(0), dst.mean(0)
    a, b = src - mu_a, dst - mu_b
    u, d, vt = np.linalg.svd(b.T @ a / len(a))
    sign = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    r = u @ sign @ vt
    s = float((d * np.diag(sign)).sum() / (a ** 2).sum() * len(a))
    return s, r, mu_b - s * r @ mu_a


def triangle_index(points, triangles, height, width):
    """Which triangle covers each pixel: int32 map, -1 = none. Far triangles are drawn first, those facing away not at all."""
    p = points[:, :2]
    a, b, c = p[triangles[:, 0]], p[triangles[:, 1]], p[triangles[:, 2]]
    twice_area = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    depth = points[triangles, 2].mean(1) if points.shape[1] > 2 else np.zeros(len(triangles))
    out = np.full((height, width), -1, np.int32)
    fixed = np.round(p * 16).astype(np.int32)
    for t in np.argsort(-depth):
        if twice_area[t] > 1e-3:
            cv2.fillConvexPoly(out, fixed[triangles[t]], int(t), lineType=cv2.LINE_8, shift=4)
    return out


def sample_map(points_to, points_from, triangles, height, width):
    """Where in the source picture each target pixel comes from: (map_x, map_y, triangle index)."""
    idx = triangle_index(points_to, triangles, height, width)
    d = points_to[:, :2][triangles].astype(np.float64)
    s = points_from[:, :2][triangles].astype(np.float64)
    m = np.concatenate([d.transpose(0, 2, 1), np.ones((len(triangles), 1, 3))], 1)
    good = np.abs(np.linalg.det(m)) > 1e-6
    affine = np.zeros((len(triangles), 2, 3))
    affine[good] = s[good].transpose(0, 2, 1) @ np.linalg.inv(m[good])
    yy, xx = np.nonzero(idx >= 0)
    a = affine[idx[yy, xx]]
    mx = np.full((height, width), -1, np.float32)
    my = mx.copy()
    mx[yy, xx] = a[:, 0, 0] * xx + a[:, 0, 1] * yy + a[:, 0, 2]
    my[yy, xx] = a[:, 1, 0] * xx + a[:, 1, 1] * yy + a[:, 1, 2]
    return mx, my, idx


def facing_of_triangles(points, triangles, lo, hi):
    """0..1 per triangle: how much it faces the viewer; smooth between cosines lo and hi."""
    p = points[triangles]
    n = np.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0])
    cos = n[:, 2] / (np.linalg.norm(n, axis=1) + 1e-9)
    return smoothstep(cos, lo, hi)


def smoothstep(v, lo, hi):
    u = np.clip((v - lo) / (hi - lo), 0, 1)
    return u * u * (3 - 2 * u)


def blur(z, sigma):
    return cv2.GaussianBlur(z, (0, 0), float(sigma), borderType=cv2.BORDER_REFLECT_101)


def wide_blur(z, sigma):
    """A wide Gaussian, computed on the picture shrunk four times: the same to within a grey level, ten times faster."""
    h, w = z.shape[:2]
    small = cv2.resize(z, (-(-w // 4), -(-h // 4)), interpolation=cv2.INTER_AREA)
    return cv2.resize(blur(small, sigma / 4), (w, h), interpolation=cv2.INTER_LINEAR)


class Basis:
    """The k-same basis as written by basis.py; see README.md for the files."""

    def __init__(self, canonical, triangles, triangles_all, mask, textures, mean_shape, modes, mode_sd, project, shapes, labels=None, embeddings=None, probe=None, likeness=None, likeness_shape=None):
        self.canonical, self.triangles, self.mask = canonical, triangles, mask      # 468x2 px, Tx3, HxWx3 0..1
        self.triangles_all = triangles_all                                          # with the eyes' and mouth's openings
        self.textures, self.mean_shape = textures, mean_shape                       # BxHxWx3 float32 0..255, 468x3 iod
        self.modes, self.mode_sd, self.project, self.shapes = modes, mode_sd, project, shapes  # Kx468x3, K, Kx(468*3), BxK
        self.labels, self.embeddings, self.probe = labels, embeddings, probe
        self.likeness, self.likeness_shape = likeness, likeness_shape                          # Bx193, K; None in a basis without them

    def shape_coefficients(self, points):
        """Identity coefficients of a mesh (468x3 px) and its pose (s, R, t) against the mean shape."""
        s, r, t = similarity3(self.mean_shape[RIGID], points[RIGID])
        local = (points - t) @ r / s
        return self.project @ (local - self.mean_shape).reshape(-1), (s, r, t)

    def moved_mesh(self, points, target_coefficients, source_coefficients=None, strength=1.0, clamp_sd=2.0):
        """The mesh with the target's shape instead of the source's: rim and expression stay, see README."""
        own, (s, r, _) = self.shape_coefficients(points)
        own = own if source_coefficients is None else source_coefficients
        lim = clamp_sd * self.mode_sd
        diff = np.clip(target_coefficients, -lim, lim) - np.clip(own, -lim, lim)
        d = np.tensordot(strength * diff, self.modes, 1)
        return (points + s * d @ r.T).astype(np.float32)


def mix(basis, weights):
    """Texture, shape coefficients of a target: weights over the basis (sum 1). Averaging n people divides the fine
    detail by the root of their number; the gain gives it back."""
    tex = sum(np.float32(w) * basis.textures[i] for i, w in enumerate(weights) if w > 0)
    shape = weights @ basis.shapes
    n_eff = 1.0 / float((weights ** 2).sum())
    low = blur(tex, DETAIL_SIGMA_PX)
    return np.clip(low + (tex - low) * min(np.sqrt(n_eff), DETAIL_GAIN_MAX), 0, 255), shape


class Degenerate(ValueError):
    """The mesh cannot carry a texture: too small, not finite, or turned away."""


class Placement:
    """Where a mesh lies on a frame; paint() then lays any texture on it. frame HxWx3 RGB 0..255, points 468x3 px,
    moved: the mesh with the target's shape (Basis.moved_mesh), or None."""

    def __init__(self, frame, points, basis, cfg, moved=None):
        h, w = frame.shape[:2]
        self.cfg, self.unit, self.basis = cfg, iod(points), basis
        if not np.isfinite(points).all() or self.unit < 8:
            raise Degenerate(f"place texture: expected finite points and an eye distance of at least 8 px, got {self.unit:.1f}")
        target = points if moved is None else moved
        self.map_x, self.map_y, idx = sample_map(target, basis.canonical, basis.triangles, h, w)
        self.inside = idx >= 0
        if self.inside.sum() < 100:
            raise Degenerate(f"place texture: expected at least 100 px that face the viewer, got {int(self.inside.sum())}")
        mask = cv2.remap(basis.mask, self.map_x, self.map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        face = facing_of_triangles(target, basis.triangles, cfg["facing_lo"], cfg["facing_hi"])
        facing = np.zeros((h, w), np.float32)
        facing[self.inside] = face[idx[self.inside]]
        self.alpha = (mask[..., 0] * np.minimum(1, blur(facing, 0.04 * self.unit)) * self.inside).astype(np.float32)
        self.may_hide, self.bare = mask[..., 1], mask[..., 2:]
        self.base = frame
        if moved is not None:
            bx, by, bidx = sample_map(moved, points, basis.triangles_all, h, w)
            warped = cv2.remap(frame, bx, by, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            self.base = np.where((bidx >= 0)[..., None], warped, frame).astype(np.float32)
        self.sigma = cfg["light_sigma_iod"] * self.unit
        self.weight = wide_blur(self.alpha, self.sigma) + 1e-3
        self.base_low = self._low(self.base)

    def _low(self, z):
        return wide_blur(z * self.alpha[..., None], self.sigma) / self.weight[..., None]

    def paint(self, texture):
        """dict: picture, alpha HxW, lit, base; picture = base (1 - alpha) + lit alpha."""
        cfg = self.cfg
        tex = cv2.remap(texture, self.map_x, self.map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        la, lb = self._low(tex), self.base_low
        gain = np.clip((lb @ LUMA + 4) / (la @ LUMA + 4), cfg["contrast_min"], cfg["contrast_max"])[..., None]
        lit = np.clip(lb + (tex - la) * gain, 0, 255)
        grain = 0
        if cfg["grain_max"] > 1:
            # the frame's own amount of fine contrast (not its pattern): a soft film gets a soft face, a sharp one a sharp face
            fine_sigma, area = cfg["grain_fine_iod"] * self.unit, cfg["grain_area_iod"] * self.unit
            lit_fine, base_fine = lit - blur(lit, fine_sigma), self.base - blur(self.base, fine_sigma)
            rms = lambda z: np.sqrt(wide_blur((z @ LUMA) ** 2 * self.alpha, area) / (wide_blur(self.alpha, area) + 1e-3))
            gain = np.clip((rms(base_fine) + 0.5) / (rms(lit_fine) + 0.5), cfg["grain_min"], cfg["grain_max"])
            lit = np.clip(lit + lit_fine * (gain - 1)[..., None], 0, 255)
            grain = (base_fine @ LUMA)[..., None]
        # a bare forehead: none of the texture's strands and folds, and of the frame no more than its grain
        paint = np.where(self.inside[..., None], lit, self.base)
        lit = lit + (np.clip(blur(paint, cfg["bare_sigma_iod"] * self.unit) + grain, 0, 255) - lit) * self.bare
        diff = np.abs(blur((lit - self.base) @ LUMA * self.inside, cfg["occlusion_sigma_iod"] * self.unit))
        alpha = self.alpha * (1 - self.may_hide * smoothstep(diff, cfg["occlusion_lo"], cfg["occlusion_hi"]))
        picture = self.base * (1 - alpha[..., None]) + lit * alpha[..., None]
        return {"picture": picture, "alpha": alpha, "lit": lit, "base": self.base}
