"""Training batches from the prepared arrays: crop, lit texture and mask, degraded and shifted alike.

Films are not portraits: half of the crops are softened, compressed, relit or re-coloured before the composite is formed, so
the painted part is sharper or cleaner than the frame round it, and the network learns to make the two agree.
Limits: only rows with hold=0 ever stand in the pairs files. Shapes: N x C x 128 x 128, values -1..1.
"""
import os

import cv2
import numpy as np
import torch

import data


class Batches:
    def __init__(self, work, cfg, seed):
        self.z, self.work, self.cfg = data.load(work), work, cfg
        self.rng = np.random.default_rng(seed)
        ld = lambda n: np.load(os.path.join(work, f"pairs-{n}.npy"), mmap_mode="r")
        if not os.path.exists(os.path.join(work, "pairs-ready")):
            data.fail(f"load {work}", "pairs-ready", "none", "run pairs.py first")
        self.lit, self.alpha, self.e, self.a, self.row = ld("lit"), ld("alpha"), ld("e"), ld("a"), ld("row")
        self.moved, self.moved_alpha = ld("moved"), ld("moved-alpha")
        self.refresh()
        z = self.z
        self.attr = np.stack([data.attributes(int(a), int(s), int(g)) for a, s, g in zip(z["age"], z["sex"], z["group"])])
        self.frames = {}
        for i in range(self.ready):
            r = int(self.row[i])
            if z["identity"][r] not in ("", "-1"):
                self.frames.setdefault(str(z["identity"][r]), []).append(i)
        self.frames = {k: v for k, v in self.frames.items() if len(v) > 1}

    def refresh(self):
        self.ready = int(open(os.path.join(self.work, "pairs-ready")).read() or 0)
        if self.ready < 1:
            data.fail(f"load {self.work}", "finished pairs", "none yet", "wait for pairs.py")

    def _degrade(self, x):
        """One film-like fault at most of each kind, on RGB uint8."""
        g = self.rng
        if g.random() < 0.25:
            s = g.uniform(0.45, 0.9)
            n = max(32, int(144 * s))
            x = cv2.resize(cv2.resize(x, (n, n), interpolation=cv2.INTER_AREA), (144, 144), interpolation=cv2.INTER_LINEAR)
        if g.random() < 0.25:
            q = int(g.integers(25, 85))
            x = cv2.imdecode(cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, q])[1], cv2.IMREAD_COLOR)
        return x

    def item(self, i, variant=None, shift=None):
        g = self.rng
        r = int(self.row[i])
        j = int(g.integers(self.lit.shape[1])) if variant is None else variant
        dx, dy = g.integers(0, 17, 2) if shift is None else shift
        cut = lambda t: t[dy:dy + 128, dx:dx + 128]
        x = cut(self._degrade(np.ascontiguousarray(self.z["x"][r])))
        v = np.zeros((144, 144), np.uint8)
        x0, y0, x1, y1 = self.z["valid"][r]
        v[y0:y1, x0:x1] = 255
        return x, cut(self.lit[i, j]), cut(self.alpha[i, j]), cut(v), r, j, cut(self._degrade(np.ascontiguousarray(self.moved[i]))), cut(self.moved_alpha[i])

    def draw(self, n, pairs_of_people=False):
        """dict of tensors: x crop, p composite, m mask, v validity, e own embedding, et target's, a own labels, at target's; and of the
        composite as it is run: pm, mm, etm, atm."""
        g = self.rng
        if pairs_of_people and self.frames:
            keys = list(self.frames)
            idx = []
            for _ in range(n // 2):
                idx += list(g.choice(self.frames[keys[int(g.integers(len(keys)))]], 2, replace=False))
        else:
            idx = g.integers(0, self.ready, n)
        it = [self.item(int(i)) for i in idx]
        pic = lambda k: torch.from_numpy(np.stack([t[k] for t in it])).permute(0, 3, 1, 2).float() / 127.5 - 1
        x, lit, pm = pic(0), pic(1), pic(6)
        one = lambda k: torch.from_numpy(np.stack([t[k] for t in it]))[:, None].float() / 255
        m, mm = one(2), one(7)
        v = (torch.from_numpy(np.stack([t[3] for t in it]))[:, None] > 0).float()
        gain = 1 + 0.3 * (torch.from_numpy(g.random((n, 3, 1, 1))).float() - 0.5)
        off = 0.3 * (torch.from_numpy(g.random((n, 3, 1, 1))).float() - 0.5)
        x, lit, pm = ((t * gain + off).clamp(-1, 1) for t in (x, lit, pm))
        flip = torch.from_numpy(g.random(n) < 0.5)
        x, lit, m, v, pm, mm = (torch.where(flip[:, None, None, None], t.flip(-1), t) for t in (x, lit, m, v, pm, mm))
        rows = np.array([t[4] for t in it])
        js = np.array([t[5] for t in it])
        f = torch.from_numpy
        return dict(pm=pm, mm=mm, etm=f(np.stack([self.e[i, -1] for i in idx])), atm=f(np.stack([self.a[i, -1] for i in idx])), x=x, p=x * (1 - m) + lit * m, m=m, v=v, e=f(self.z["e"][rows]), et=f(np.stack([self.e[i, j] for i, j in zip(idx, js)])),
                    a=f(self.attr[rows]), at=f(np.stack([self.a[i, j] for i, j in zip(idx, js)])))
