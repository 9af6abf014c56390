"""The networks of the pack: denoiser, identity VAE, non-identity encoder and gate.

What: a U-Net on space-to-depth(4) pixels (48 x 32 x 32) that predicts the clean crop as prior + residual; so a network that
has learned nothing leaves the prior alone, and an edge it does not understand stays the composite's.
Why this size: one evaluation must fit a frame's budget on two CPU cores; widths are in config.toml, the interface is not.
Limits: GroupNorm and full attention at 8 x 8 only, so that every ONNX runtime and TensorRT take the export.
Space-to-depth order (PyTorch pixel_unshuffle): channel = colour * 16 + (y mod 4) * 4 + (x mod 4), colour R, G, B;
values v / 127.5 - 1.
"""
import math

import torch
import torch.nn as nn
import torch.nn.functional as F

FACTOR = 4


def to_depth(x):
    return F.pixel_unshuffle(x, FACTOR)


def to_space(z):
    return F.pixel_shuffle(z, FACTOR)


def alpha_sigma(lam):
    """lam = ln(alpha / sigma), variance preserving. n -> two n x 1 x 1 x 1."""
    return torch.sigmoid(2 * lam).sqrt()[:, None, None, None], torch.sigmoid(-2 * lam).sqrt()[:, None, None, None]


def lambda_features(lam, n=32):
    f = torch.exp(torch.arange(n, device=lam.device, dtype=lam.dtype) * (-math.log(200.0) / (n - 1)))
    w = lam[:, None] * 4.0 * f
    return torch.cat([w.sin(), w.cos()], 1)


MOST_WIDE, MOST_NEAR = 8 / 127.5, 3 / 127.5
SPLIT_PX, SPLIT_MOST = 1.25, 4                   # sigma and radius of the split into two bands
SHARPEN = 0.12                                   # what is added of the picture's fine band


def smoothing(sigma, radius):
    """A Gaussian of the picture as one convolution of space-to-depth cells: 48 x 16 x 3 x 3, a group a colour; radius up to 4 px."""
    d = torch.arange(12)[None] - FACTOR - torch.arange(FACTOR)[:, None]           # px from each pixel of a cell to those of three cells
    g = torch.exp(-d.float() ** 2 / (2 * sigma * sigma)) * (d.abs() <= radius)
    g = (g / g.sum(1, keepdim=True)).reshape(FACTOR, 3, FACTOR)                   # from px, to cell, to px
    return torch.einsum("iuk,jvl->ijkluv", g, g).reshape(16, 16, 3, 3).repeat(3, 1, 1, 1)


LOW = smoothing(SPLIT_PX, SPLIT_MOST)


def low(z):
    """What of n x 48 x 32 x 32 is coarser than the split; the outermost cells stand for those beyond the edge. (Joined, not padded: an
    exported Pad has no fixed shape.)"""
    z = torch.cat([z[:, :, :1], z, z[:, :, -1:]], 2)
    return F.conv2d(torch.cat([z[..., :1], z, z[..., -1:]], 3), LOW.to(z), groups=3)


def mean3(z):
    return F.avg_pool2d(z, 3, 1, 1, count_include_pad=False)


def bounded(r):
    """What of a residual n x 48 x 32 x 32 is added to the prior: low band + fine band, turned down where the residual is strong, by
    1 / sqrt(1 + (w / MOST_WIDE)^2 + (a / MOST_NEAR)^2), a and w = mean absolute 4 x 4 px mean over colours and 12 or about 20 px round.
    Stronger strokes were marks that a recogniser likes and a viewer does not: joined brows (wide), a dark line along the nose's ridge
    (near). A bound on each 4 x 4 mean by itself showed as little squares.
    The fine band is grey, for its colours were fringes along the nose, and without what repeats from cell to cell over 12 px: a comb of
    4 px that a network of space-to-depth cells leaves on skin, which counts as sharpness and is none. Doubled and without a bound it
    steered further (cos under -e .07 for .09) and drew lines down from the brows."""
    n, _, h, w = r.shape
    grey = lambda z: z.reshape(n, 3, 16, h, w).mean(1)
    near = mean3(r.reshape(n, 3, 16, h, w).mean(2).abs().mean(1, keepdim=True))
    under = low(r)
    fine = grey(r) - grey(under)
    fine = fine - mean3(fine)
    return (under + torch.cat([fine, fine, fine], 1)) * (1 + (mean3(near) / MOST_WIDE) ** 2 + (near / MOST_NEAR) ** 2).rsqrt()


def finished(prior, r):
    """The clean crop of a prior and a residual, n x 48 x 32 x 32 each. A composite has seven eighths of its frame's contrast in every
    band below 3 px (means, a warp and a blend at the rim soften); part of it is given back by a filter, which nothing was trained for."""
    x = prior + bounded(r)
    return x + SHARPEN * (x - low(x))


class Res(nn.Module):
    def __init__(self, ci, co, e):
        super().__init__()
        self.n1, self.c1 = nn.GroupNorm(16, ci), nn.Conv2d(ci, co, 3, padding=1)
        self.n2, self.c2 = nn.GroupNorm(16, co), nn.Conv2d(co, co, 3, padding=1)
        self.e = nn.Linear(e, 2 * co)
        self.skip = nn.Conv2d(ci, co, 1) if ci != co else nn.Identity()
        nn.init.zeros_(self.c2.weight)
        nn.init.zeros_(self.c2.bias)

    def forward(self, x, e):
        h = self.c1(F.silu(self.n1(x)))
        a, b = self.e(e)[..., None, None].chunk(2, 1)
        return self.skip(x) + self.c2(F.silu(self.n2(h) * (1 + a) + b))


class Attention(nn.Module):
    def __init__(self, c, heads=4):
        super().__init__()
        self.n, self.qkv, self.o, self.heads = nn.GroupNorm(16, c), nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, c, 1), heads
        nn.init.zeros_(self.o.weight)
        nn.init.zeros_(self.o.bias)

    def forward(self, x):
        c, h, w = x.shape[1:]
        q, k, v = self.qkv(self.n(x)).reshape(-1, 3, self.heads, c // self.heads, h * w).unbind(1)
        a = torch.softmax(q.transpose(-1, -2) @ k * (c // self.heads) ** -0.5, -1)
        return x + self.o((v @ a.transpose(-1, -2)).reshape(-1, c, h, w))


class Denoiser(nn.Module):
    """x, prior: n x 48 x 32 x 32; lam n; identity n x 192; identity_mask n x 1 (0 = null identity); attributes n x 17
    -> clean crop n x 48 x 32 x 32."""

    def __init__(self, channels=(64, 128, 192), embed=256, identity=192, attributes=17):
        super().__init__()
        a, b, c = channels
        self.t = nn.Sequential(nn.Linear(64, embed), nn.SiLU(), nn.Linear(embed, embed))
        self.id = nn.Sequential(nn.Linear(identity + 1, embed), nn.SiLU(), nn.Linear(embed, embed))
        self.at = nn.Linear(attributes, embed)
        self.scale = identity ** 0.5
        self.inp = nn.Conv2d(96, a, 3, padding=1)
        self.d1 = Res(a, a, embed)
        self.x1 = nn.Conv2d(a, b, 3, 2, 1)
        self.d2 = nn.ModuleList([Res(b, b, embed), Res(b, b, embed)])
        self.x2 = nn.Conv2d(b, c, 3, 2, 1)
        self.m = nn.ModuleList([Res(c, c, embed), Res(c, c, embed)])
        self.ma = Attention(c)
        self.u2c = nn.Conv2d(c, b, 1)
        self.u2 = nn.ModuleList([Res(2 * b, b, embed), Res(b, b, embed)])
        self.u1c = nn.Conv2d(b, a, 1)
        self.u1 = nn.ModuleList([Res(2 * a, a, embed), Res(a, a, embed)])
        self.n, self.out = nn.GroupNorm(16, a), nn.Conv2d(a, 48, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x, prior, lam, identity, identity_mask, attributes):
        e = self.t(lambda_features(lam)) + self.id(torch.cat([identity * identity_mask * self.scale, identity_mask], 1)) + self.at(attributes)
        return finished(prior, self.residual(x, prior, F.silu(e)))

    def residual(self, x, prior, e):
        h = self.inp(torch.cat([x, prior], 1))
        k1 = self.d1(h, e)
        h = self.x1(k1)
        for r in self.d2:
            h = r(h, e)
        k2 = h
        h = self.m[1](self.ma(self.m[0](self.x2(h), e)), e)
        h = torch.cat([F.interpolate(self.u2c(h), scale_factor=2.0, mode="nearest"), k2], 1)
        for r in self.u2:
            h = r(h, e)
        h = torch.cat([F.interpolate(self.u1c(h), scale_factor=2.0, mode="nearest"), k1], 1)
        for r in self.u1:
            h = r(h, e)
        return self.out(F.silu(self.n(h)))


class IdentityVAE(nn.Module):
    """Unit embedding 192 <-> latent 64. Its latent space is where orthogonal identities are drawn.

    Linear maps plus a small correction: the linear part starts as the whitened principal components of the training
    embeddings (the optimum of a linear VAE), so that training only has to refine it."""

    def __init__(self, identity=192, latent=64, width=128):
        super().__init__()
        self.latent = latent
        self.lin, self.back = nn.Linear(identity, latent), nn.Linear(latent, identity)
        self.enc = nn.Sequential(nn.Linear(identity, width), nn.SiLU(), nn.Linear(width, 2 * latent))
        self.dec = nn.Sequential(nn.Linear(latent, width), nn.SiLU(), nn.Linear(width, identity))
        for m in (self.enc[2], self.dec[2]):
            nn.init.zeros_(m.weight)
            nn.init.zeros_(m.bias)
        self.enc[2].bias.data[latent:] = -3.0
        self.scale = identity ** 0.5

    @torch.no_grad()
    def start_from(self, e):
        mean = e.mean(0)
        _, s, v = torch.linalg.svd(e - mean, full_matrices=False)
        k = min(self.latent, len(s))               # fewer faces than latents: the rest keeps its random start
        sd = torch.ones(self.latent)
        sd[:k] = (s[:k] / len(e) ** 0.5).clamp(min=1e-4)
        v = torch.cat([v[:k], self.lin.weight[k:] / self.lin.weight[k:].norm(dim=1, keepdim=True)])
        self.lin.weight.copy_(v / sd[:, None])
        self.lin.bias.copy_(-(v / sd[:, None]) @ mean)
        self.back.weight.copy_((v * sd[:, None]).T)
        self.back.bias.copy_(mean)

    def encode(self, e):
        m, ls = self.enc(e * self.scale).chunk(2, 1)
        return self.lin(e) + m, ls

    def decode(self, z):
        d = self.back(z) + self.dec(z)
        return d / (d.pow(2).sum(1, keepdim=True) + 1e-8).sqrt()


class NonIdentity(nn.Module):
    """Picture n x 48 x 32 x 32 -> 64 numbers: pose, expression, light; trained on pairs of one person not to say who."""

    def __init__(self, out=64):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(48, 48, 3, 2, 1), nn.GroupNorm(8, 48), nn.SiLU(), nn.Conv2d(48, 96, 3, 2, 1), nn.GroupNorm(8, 96), nn.SiLU(),
                                 nn.Conv2d(96, 128, 3, 2, 1), nn.GroupNorm(8, 128), nn.SiLU(), nn.Flatten(), nn.Linear(128 * 16, out))

    def forward(self, x):
        return torch.tanh(self.net(x))


class Gate(nn.Module):
    """Soft gating on the noisy features: fuses identity (192) and non-identity (64) into the 192 numbers that the denoiser
    takes as `identity`. The gate starts almost shut, so that an untrained one changes nothing."""

    def __init__(self, identity=192, non=64, width=128):
        super().__init__()
        self.look = nn.Sequential(nn.Conv2d(48, 32, 3, 4, 1), nn.SiLU(), nn.Conv2d(32, 32, 3, 4, 1), nn.SiLU(), nn.Flatten(), nn.Linear(128, width))
        self.lam = nn.Linear(64, width)
        self.gate = nn.Sequential(nn.SiLU(), nn.Linear(width, identity))
        self.value = nn.Linear(non, identity)
        nn.init.constant_(self.gate[1].bias, -2.0)

    def forward(self, x, lam, identity, non):
        g = torch.sigmoid(self.gate(self.look(x) + self.lam(lambda_features(lam))))
        return (1 - g) * identity + g * self.value(non) * identity.shape[1] ** -0.5


class Critic(nn.Module):
    """Patch critic at three scales (it sees 38, 76 and 152 px); training only. It sees the mask beside the picture: the seam is where
    painted faces betray themselves. Without spectral norm: with it, judgements stayed within a fiftieth of a margin after a
    thousand steps and taught nothing. Its input gets noise instead, so that it cannot live on what nobody sees.
    Returns the judgements and the features that the generator is asked to match."""

    def __init__(self, width=24):
        super().__init__()
        w = width

        def tower():
            return nn.ModuleList([nn.Conv2d(4, w, 4, 2, 1), nn.Conv2d(w, 2 * w, 4, 2, 1), nn.Conv2d(2 * w, 4 * w, 4, 2, 1), nn.Conv2d(4 * w, 1, 3, 1, 1)])
        self.towers = nn.ModuleList([tower() for _ in range(3)])

    def forward(self, x, mask):
        h = torch.cat([x + 0.04 * torch.randn_like(x), 2 * mask - 1], 1)
        scores, features = [], []
        for k, t in enumerate(self.towers):
            z = h if k == 0 else F.avg_pool2d(h, 2 ** k)
            for c in t[:-1]:
                z = F.leaky_relu(c(z), 0.2)
                features.append(z)
            scores.append(t[-1](z))
        return scores, features
