"""Trains the denoiser and the id2face parts, resumable, on a CPU or a GPU, with the same command.

  python train.py --stage denoiser|edit|id2face --minutes N [--resume] [--batch B] [--width W]
Stages (README.md has the losses and why): `denoiser` learns to turn a composite into the real crop, given noise, the identity
and labels; `edit` trains the one-step operator as it is run: noised composite in, target identity asked for; `id2face` trains
the identity VAE, the non-identity encoder and the gate with the denoiser frozen.
Why x0 = prior + residual: plain diffusion needs days on two cores; with the prior the first minutes already help.
Limits: state is written to a new file and renamed; a non-finite loss or one far above the running mean ends the run with the
last good state kept; a checkpoint of another network is refused by name.
"""
import argparse
import copy
import csv
import glob
import io
import json
import math
import os
import pickle
import sys
import time
import tomllib

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F

import small
from batches import Batches
from model import Critic, Denoiser, Gate, IdentityVAE, NonIdentity, alpha_sigma, to_depth, to_space

HERE = os.path.dirname(os.path.abspath(__file__))


def build(cfg, width=1.0):
    n = cfg["net"]
    ch = tuple(max(32, int(c * width) // 32 * 32) for c in n["channels"])
    return nn.ModuleDict(dict(denoiser=Denoiser(ch, n["embed"], n["identity_dim"], n["attributes"]), vae=IdentityVAE(n["identity_dim"]), non=NonIdentity(), gate=Gate(n["identity_dim"]))), ch


PART_BYTES = 15 << 20


def save(path, **state):
    tmp = path + ".new"
    torch.save(state, tmp)
    os.replace(tmp, path)


def halved(state):
    """The same tree with its floating tensors in bf16: moments need no more, and the state stays below 60 MB."""
    if torch.is_tensor(state):
        return state.bfloat16() if state.is_floating_point() and state.numel() > 64 else state
    if isinstance(state, dict):
        return {k: halved(v) for k, v in state.items()}
    return [halved(v) for v in state] if isinstance(state, list) else state


def parts_of(path):
    return sorted(glob.glob(path + ".part??"))


def cut(path):
    """The file in parts of at most PART_BYTES beside it, for places that take no larger ones."""
    raw = open(path, "rb").read()
    for old in parts_of(path):
        os.remove(old)
    for n in range(-(-len(raw) // PART_BYTES)):
        with open(f"{path}.part{n:02d}", "wb") as f:
            f.write(raw[n * PART_BYTES:(n + 1) * PART_BYTES])


def load_state(path, ch, device):
    """A state written by `save`, whole or in parts; named and refused where it is damaged or of another network."""
    raw = open(path, "rb").read() if os.path.exists(path) else b"".join(open(p, "rb").read() for p in parts_of(path))
    try:
        s = torch.load(io.BytesIO(raw), map_location=device, weights_only=False)
    except (RuntimeError, EOFError, OSError, pickle.UnpicklingError, ValueError) as e:
        sys.exit(f"resume {path}: expected a state written by train.py, got {len(raw)} bytes that cannot be read ({type(e).__name__}); remove it or take an older copy")
    if tuple(s.get("channels", ())) != tuple(ch):
        sys.exit(f"resume {path}: expected a network of channels {tuple(ch)}, got {s.get('channels')}; use the config it was trained with, or another --run folder")
    return s


def robust(d):
    return torch.sqrt(d * d + 1e-4)


def low(x):
    return F.avg_pool2d(x, 16, 8)


def grain(x):
    """Log of the local amount of fine contrast of the luma: n x 1 x h x w."""
    y = (x * x.new_tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    fine = y - F.avg_pool2d(y, 3, 1, 1)
    return 0.5 * torch.log(F.avg_pool2d(fine * fine, 17, 4) + 2e-5)


class Trainer:
    def __init__(self, a, cfg):
        self.a, self.cfg, self.t = a, cfg, cfg["train"]
        torch.manual_seed(self.t["seed"])          # the same weights in every process
        self.dev = "cuda" if torch.cuda.is_available() else "cpu"
        if self.dev == "cpu":
            torch.set_num_threads(a.threads)
        self.nets, self.ch = build(cfg, a.width)
        # measured on a CPU: channels-last is a quarter slower, in float and in bf16
        self.layout = torch.channels_last if self.dev == "cuda" else torch.contiguous_format
        self.nets.to(self.dev, memory_format=self.layout)
        self.critic = Critic().to(self.dev)
        self.path = os.path.join(a.run, "state.pt")
        os.makedirs(a.run, exist_ok=True)
        self.steps = dict(denoiser=0, edit=0, id2face=0)
        state = None
        there = os.path.exists(self.path) or parts_of(self.path)
        if a.resume and there:
            state = load_state(self.path, self.ch, self.dev)
            self.nets.load_state_dict(state.get("nets", state["ema"]))
            judged = {k: v.shape for k, v in state["critic"].items()} == {k: v.shape for k, v in self.critic.state_dict().items()}
            if judged:
                self.critic.load_state_dict(state["critic"])
            else:
                print("the state's critic is of another shape: a new one is trained", flush=True)
            self.steps = state["steps"]
        elif there and not a.resume:
            sys.exit(f"train: {self.path} exists; expected --resume to go on, or another --run folder")
        self.ema = copy.deepcopy(self.nets).eval()
        if state:
            self.ema.load_state_dict(state["ema"])
        parts = dict(denoiser=["denoiser"], edit=["denoiser"], id2face=["vae", "non", "gate"])[a.stage]
        self.params = [p for k in parts for p in self.nets[k].parameters()]
        # reads the non-identity features in training alone: without it they became a constant
        self.thumb = nn.Linear(64, 192).to(self.dev)
        for p in self.nets.parameters():
            p.requires_grad_(False)
        for p in self.params:
            p.requires_grad_(True)
        self.lr = a.lr or self.t["lr"] * (0.5 if a.stage == "edit" else 1)
        learnt = self.params + (list(self.thumb.parameters()) if a.stage == "id2face" else [])
        self.opt = torch.optim.AdamW(learnt, lr=self.lr, weight_decay=self.t["weight_decay"], betas=(0.9, 0.99))
        self.copt = torch.optim.AdamW(self.critic.parameters(), lr=self.t["critic_lr"], betas=(0.5, 0.99))
        if state and state.get("stage") == a.stage and "opt" in state:
            self.opt.load_state_dict(state["opt"])
            if judged:
                self.copt.load_state_dict(state["copt"])
        self.rec, _ = small.torch_recogniser(a.small)
        self.mesh = small.torch_mesh(a.small)[0] if a.stage == "edit" else None
        torch.manual_seed(self.t["seed"] + 1000 * a.seed + sum(self.steps.values()))
        self.batches = Batches(a.work, cfg, self.t["seed"] + 1000 * a.seed + sum(self.steps.values()))

    # ---- one-step operator -------------------------------------------------------------------------------------------
    def half(self):
        """bf16: twice as fast on a CPU that has it (AVX512-BF16), and on a GPU."""
        return torch.autocast(self.dev, torch.bfloat16)

    def f(self, xt, p, lam, c, cm, at):
        cl = lambda z: z.contiguous(memory_format=self.layout)
        with self.half():
            o = self.nets["denoiser"](cl(to_depth(xt)), cl(to_depth(p)), lam, c, cm, at)
        return to_space(o.float())

    def noised(self, base, lam):
        a, s = alpha_sigma(lam)
        return a * base + s * torch.randn_like(base)

    def lam(self, n, mean=None, sd=None):
        return torch.randn(n, device=self.dev) * (sd or self.t["lambda_sd"]) + (self.t["lambda_mean"] if mean is None else mean)

    def look(self, x):
        """Embeddings of pictures seen a little differently every time: moved, scaled, mirrored, blurred, relit. A pattern that only
        one exact crop's recogniser likes does not survive this, and one recogniser becomes several."""
        n, d = len(x), self.dev
        r = lambda *s: torch.rand(*s, device=d)
        theta = torch.zeros(n, 2, 3, device=d)
        zoom = 1 + 0.2 * (r(n) - 0.5)
        turn = 0.2 * (r(n) - 0.5)
        mirror = (r(n) < 0.5).float() * 2 - 1
        theta[:, 0, 0], theta[:, 1, 1] = zoom * mirror, zoom
        theta[:, 0, 1], theta[:, 1, 0] = -turn * zoom * mirror, turn * zoom
        theta[:, :, 2] = 0.12 * (r(n, 2) - 0.5)
        z = F.grid_sample(x, F.affine_grid(theta, (n, 3, 128, 128), align_corners=False), padding_mode="reflection", align_corners=False)
        z = torch.where((r(n) < 0.3)[:, None, None, None], F.avg_pool2d(z, 3, 1, 1), z)
        z = z * (1 + 0.3 * (r(n, 3, 1, 1) - 0.5)) + 0.2 * (r(n, 1, 1, 1) - 0.5) + 0.04 * torch.randn_like(z)
        with self.half():
            return F.normalize(self.rec(z.clamp(-1, 1)).float(), dim=1)

    def pick(self, b):
        """Inputs of the supervised half: the composite of somebody else goes in clean; what goes in noised is that composite (as it is
        run: only c tells who x is) or the crop itself; out must come the crop."""
        n, t = len(b["x"]), self.t
        u = torch.rand(n, 5, device=self.dev)
        at = lambda k, v: (u[:, k] < t[v])[:, None, None, None]
        base = torch.where(at(4, "noised_composite"), b["p"], b["x"])
        p = torch.where(at(0, "drop_prior"), torch.zeros_like(b["p"]), b["p"])
        p = torch.where(at(1, "frame_prior"), b["x"], p)
        lam = self.lam(n)
        return self.noised(base, lam), p, lam, b["e"], (u[:, 2:3] > t["drop_identity"]).float(), b["a"] * (u[:, 3:4] > t["drop_attributes"]).float()

    def supervised(self, o, b, cm):
        """Robust distance to the crop: most of it at half resolution, since fine detail cannot be known and a mean of guesses is soft."""
        w = b["v"] * (self.t["outside_weight"] + b["m"])
        w2 = F.avg_pool2d(w, 2)
        half = (w2 * robust(F.avg_pool2d(o - b["x"], 2))).sum() / (3 * w2.sum())
        full = (w * robust(o - b["x"])).sum() / (3 * w.sum())
        k = max(1, int(len(o) * self.t["identity_share"]))
        out = b["x"][:k] * (1 - b["m"][:k]) + o[:k] * b["m"][:k]
        ident = ((1 - (self.look(out) * b["e"][:k]).sum(1, keepdim=True)) * cm[:k]).mean()
        return half, full, ident

    def fine(self, out, like, m):
        """Difference in the amount of fine contrast under the mask."""
        w = F.avg_pool2d(m, 17, 4)
        return (w * (grain(out) - grain(like)).abs()).sum() / (w.sum() + 1e-3)

    def judge(self, real, mask, fake, fake_mask):
        """Teaches the critic, then asks it: (critic's loss, generator's loss, critic's features of fake and real)."""
        with self.half():
            sr, _ = self.critic(real, mask)
            sf, _ = self.critic(fake.detach(), fake_mask)
        closs = sum(F.relu(1 - a.float()).mean() + F.relu(1 + b.float()).mean() for a, b in zip(sr, sf))
        self.copt.zero_grad(set_to_none=True)
        closs.backward()
        self.copt.step()
        for q in self.critic.parameters():
            q.requires_grad_(False)
        with self.half():
            sf, ff = self.critic(fake, fake_mask)
            with torch.no_grad():
                _, fr = self.critic(real, mask)
        for q in self.critic.parameters():
            q.requires_grad_(True)
        return closs.detach(), -sum(s.float().mean() for s in sf), ff, fr

    def match(self, ff, fr, k):
        """Critic's features of the first k fakes against those of the crops they stand for."""
        return sum((a[:k].float() - b[:k].float()).abs().mean() for a, b in zip(ff, fr)) / len(ff)

    def step_denoiser(self):
        b = self.put(self.batches.draw(self.a.batch or self.t["batch"]))
        i = self.pick(b)
        o = self.f(*i)
        half, full, ident = self.supervised(o, b, i[4])
        out = b["x"] * (1 - b["m"]) + o * b["m"]
        fine = self.fine(out, b["x"], b["m"])
        closs, fool, ff, fr = self.judge(b["x"], b["m"], out, b["m"])
        fm = self.match(ff, fr, len(out))
        t = self.t
        loss = half + t["w_full"] * full + t["w_identity"] * ident + t["w_fine"] * fine + t["w_match"] * fm + t["w_fool"] * fool
        return loss, dict(half=half, full=full, ident=ident, fine=fine, match=fm, critic=closs, fool=fool)

    def targets(self, e, et):
        """Identity asked for: mostly the composite's own person, also strangers, -e and directions across e."""
        n = len(e)
        u = torch.rand(n, 1, device=self.dev)
        stranger = e.roll(1, 0)
        r = F.normalize(stranger + 0.5 * F.normalize(torch.randn_like(stranger), dim=1), dim=1)
        across = F.normalize(r - (r * e).sum(1, keepdim=True) * e, dim=1)
        c = torch.where(u < 0.4, et, torch.where(u < 0.65, stranger, torch.where(u < 0.82, across, -e)))
        return c, (u < 0.65).float(), (u < 0.4).float()            # c, a face that exists, the composite's own

    def step_edit(self):
        """Half of the batch supervised, half the operator as it is run: composite on the moved mesh in, target asked for."""
        t, n = self.t, self.a.batch or self.t["batch"]
        together = self.steps["edit"] % 4 == 0
        b = self.put(self.batches.draw(n, pairs_of_people=together))
        h = n // 2
        r, d = ({k: v[lo:hi] for k, v in b.items()} for lo, hi in ((0, h), (h, n)))
        i = self.pick(r)
        frame = (torch.rand(n - h, 1, 1, 1, device=self.dev) < 0.15).float()
        base, m = frame * d["x"] + (1 - frame) * d["pm"], frame * d["m"] + (1 - frame) * d["mm"]
        c, reachable, own = self.targets(d["e"], d["etm"])
        if together:                                            # frames of one person asked for one target must give one face
            c, reachable, own = (v[0::2].repeat_interleave(2, 0) for v in (c, reachable, own))
        lam = self.lam(n - h, 0.5, 0.5)
        j = (self.noised(base, lam), base, lam, c, torch.ones(n - h, 1, device=self.dev), d["atm"] * own * (torch.rand(n - h, 1, device=self.dev) < 0.5).float())
        o = self.f(*(torch.cat([p, q]) for p, q in zip(i, j)))
        half, full, rident = self.supervised(o[:h], r, i[4])
        o = o.clamp(-1.1, 1.1)
        outr, out = r["x"] * (1 - r["m"]) + o[:h] * r["m"], base * (1 - m) + o[h:] * m
        e = self.look(out)
        to = 1 - (e * c).sum(1, keepdim=True)
        back = F.relu((e * d["e"]).sum(1, keepdim=True))
        with torch.no_grad():
            had = 1 - (self.look(base) * c).sum(1, keepdim=True)
        # a stranger is to be approached; the composite's own person only kept, or every face gets the marks that the recogniser
        # likes best; -e and directions across e are nobody's: there the source is to be left, no more
        ident = ((reachable - own) * to + own * F.relu(to - had) + (1 - reachable) * t["back"] * back).mean()
        light = robust(low(out) - low(base)).mean()
        edit = o[h:] - base
        hold = m * (1 + 3 * own[..., None, None])                # the composite's own person needs no new features
        coarse = sum(k / 4 * (robust(F.avg_pool2d(edit, k)) * F.avg_pool2d(hold, k)).mean() for k in (4, 8))
        keep = (robust(edit) * (1 - m)).mean() + t["w_coarse"] * coarse
        fine = self.fine(torch.cat([outr, out]), b["x"], torch.cat([r["m"], m]))
        closs, fool, ff, fr = self.judge(b["x"], b["m"], torch.cat([outr, out]), torch.cat([r["m"], m]))
        fm = self.match(ff, fr, h)
        loss = half + t["w_full"] * full + t["w_identity"] * rident + t["w_steer"] * ident + t["w_fine"] * fine + t["w_match"] * fm + t["w_fool"] * fool + light + 0.5 * keep
        parts = dict(half=half, full=full, rident=rident, to=(to * reachable).sum() / (reachable.sum() + 1e-6), back=back.mean(), light=light, fine=fine, match=fm, critic=closs, fool=fool, edit=edit.abs().mul(m).sum() / (3 * m.sum()))
        if self.steps["edit"] % 2 == 0:
            q = max(1, h // 4)
            pad = lambda z: F.pad(z, (8, 8, 8, 8), mode="reflect")
            with self.half():
                with torch.no_grad():
                    want = self.mesh(pad(base[:q])).float()
                land = (self.mesh(pad(out[:q].clamp(-1, 1))).float() - want).abs().mean() / 56.0
            loss, parts["land"] = loss + 2.0 * land, land
        if together:
            parts["same"] = (1 - (e[0::2] * e[1::2]).sum(1)).mean()
            loss = loss + 0.1 * parts["same"]
        return loss, parts

    def step_id2face(self):
        n = self.a.batch or self.t["batch"]
        vae, non, gate = self.nets["vae"], self.nets["non"], self.nets["gate"]
        e = torch.from_numpy(self.batches.z["e"][self.train_rows[np.random.randint(0, len(self.train_rows), 128)]]).to(self.dev)
        mu, ls = vae.encode(e)
        z = mu + torch.randn_like(mu) * (0.5 * ls.clamp(-8, 4)).exp()
        kl = 0.5 * (mu ** 2 + ls.clamp(-8, 4).exp() - 1 - ls.clamp(-8, 4)).sum(1).mean()
        vloss = 10 * (1 - (vae.decode(z) * e).sum(1)).mean() + 0.002 * kl
        if self.steps["id2face"] % 4:
            return vloss, dict(vae=vloss, kl=kl)
        b = self.put(self.batches.draw(n, pairs_of_people=True))
        lam = self.lam(n)
        nn_ = non(to_depth(b["x"]))
        swap = torch.arange(n, device=self.dev) ^ 1
        m1, _ = vae.encode(b["e"])
        ident = vae.decode(m1[swap])                                          # identity from the other picture of the person
        xt = self.noised(b["x"], lam)
        c = gate(to_depth(xt), lam, ident, nn_)
        o = self.f(xt, b["p"], lam, c, torch.ones(n, 1, device=self.dev), torch.zeros(n, self.cfg["net"]["attributes"], device=self.dev))
        w = b["v"] * (self.t["outside_weight"] + b["m"])
        rec = (w * robust(o - b["x"])).sum() / (3 * w.sum())
        align = ((m1 - m1[swap].detach()) ** 2).mean() + ((m1.detach() - m1[swap]) ** 2).mean()
        # what one half says about the other, as correlations: a half that says nothing at all is no way out
        unit = lambda z: (z - z.mean(0)) / (z.std(0) + 1e-3)
        leak = ((unit(nn_).T @ unit(b["e"]) / n) ** 2).mean()
        thumb = robust(self.thumb(nn_).view(n, 3, 8, 8) - F.avg_pool2d(b["x"], 16)).mean()      # light, pose, where the mouth is
        k = max(1, n // 2)
        kept = (1 - (self.look(b["x"][:k] * (1 - b["m"][:k]) + o[:k] * b["m"][:k]) * b["e"][:k]).sum(1)).mean()
        near = (c - ident).pow(2).sum(1).mean()                               # identity passes; the gate adds what it must
        return vloss + rec + 0.02 * align + 0.1 * leak + 0.3 * thumb + 0.05 * kept + 0.02 * near, dict(vae=vloss, kl=kl, rec=rec, align=align, leak=leak, thumb=thumb, kept=kept, near=near)

    # ---- loop --------------------------------------------------------------------------------------------------------
    def put(self, b):
        return {k: v.to(self.dev, non_blocking=True) for k, v in b.items()}

    def write(self, keep_optimiser=True):
        save(self.path, nets=self.nets.state_dict(), ema=self.ema.state_dict(), critic=self.critic.state_dict(), steps=self.steps, channels=self.ch, stage=self.a.stage,
             config=self.cfg, **(dict(opt=halved(self.opt.state_dict()), copt=halved(self.copt.state_dict())) if keep_optimiser else {}))

    def travel(self, path):
        """The averaged weights alone, in bf16: what goes to another machine beside the crops."""
        save(path, ema=halved(self.ema.state_dict()), critic=halved(self.critic.state_dict()), steps=self.steps, channels=self.ch, stage=None, config=self.cfg)

    def meet(self):
        """Local SGD: two runs on one machine, one thread each, pull their weights together now and then. Two threads in one
        process wait for each other at every operator where cores are shared; two processes do not."""
        path = self.a.peer and os.path.join(self.a.peer, "state.pt")
        if not path or not os.path.exists(path):
            return
        try:
            s = torch.load(path, map_location=self.dev, weights_only=False)
        except (RuntimeError, EOFError, OSError):
            return
        if tuple(s["channels"]) != tuple(self.ch) or s["stage"] != self.a.stage:
            return
        with torch.no_grad():
            for mine, theirs in ((self.nets, s["nets"]), (self.ema, s["ema"])):
                for k, v in mine.state_dict().items():
                    if v.is_floating_point():
                        v.lerp_(theirs[k], 0.5)

    def run(self):
        a, stage = self.a, self.a.stage
        z = self.batches.z
        self.train_rows = np.nonzero(z["hold"] == 0)[0]
        if stage == "id2face" and not self.steps[stage]:
            e = torch.from_numpy(z["e"][self.train_rows]).to(self.dev)
            for n in (self.nets, self.ema):
                n["vae"].start_from(e)
        log_path = os.path.join(a.run, f"log-{stage}.csv")
        step = getattr(self, "step_" + stage)
        t0 = last = time.time()
        mean, it0 = None, self.steps[stage]
        acc, warm = {}, min(60, max(1, a.max_steps // 4)) if a.max_steps else 60
        while (el := (time.time() - t0) / 60) < a.minutes and self.steps[stage] - it0 < (a.max_steps or 10 ** 9):
            done = self.steps[stage] - it0
            for g in self.opt.param_groups:
                g["lr"] = self.lr * min(1, (done + 1) / warm) * (0.525 + 0.475 * math.cos(math.pi * min(1, el / a.minutes)))
            loss, parts = step()
            v = float(loss.detach())
            if not math.isfinite(v) or (mean is not None and done > 50 and v > 20 * abs(mean) + 5):
                sys.exit(f"train {stage}, step {self.steps[stage]}: expected a loss near {mean}, got {v}; the last state in {self.path} is kept; go on with --resume and a lower --lr")
            self.opt.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.params, 1.0)
            self.opt.step()
            self.steps[stage] += 1
            k = min(self.t["ema"], (1 + self.steps[stage]) / (10 + self.steps[stage]))
            with torch.no_grad():
                for q, p in zip(self.ema.parameters(), self.nets.parameters()):
                    if p.requires_grad:
                        q.lerp_(p, 1 - k)
            mean = v if mean is None else 0.97 * mean + 0.03 * v
            for kk, vv in dict(loss=loss, **parts).items():
                acc.setdefault(kk, []).append(float(vv.detach()))
            if self.steps[stage] % 100 == 0 or time.time() - last > 60:
                last = time.time()
                self.batches.refresh()
                row = dict(step=self.steps[stage], minutes=round(el, 2), crops_per_s=round(done * (a.batch or self.t["batch"]) / (60 * el + 1e-9), 1), **{kk: round(float(np.mean(vv)), 5) for kk, vv in acc.items()})
                acc = {}
                with open(log_path, "a") as f:
                    f.write(json.dumps(row) + "\n")
                print(row, flush=True)
                self.meet()
                self.write()
        self.write()
        if a.parts:
            cut(self.path)
        plot(log_path)
        print("done", self.steps, flush=True)
        return mean


def plot(log_path):
    """CSV and a picture of the curves beside the log."""
    if not os.path.exists(log_path):
        return
    rows = [json.loads(l) for l in open(log_path)]
    keys = [k for k in dict.fromkeys(k for r in rows for k in r)]
    with open(log_path[:-4] + "-table.csv", "w", newline="") as f:
        w = csv.DictWriter(f, keys)
        w.writeheader()
        w.writerows(rows)
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    fig, ax = plt.subplots(figsize=(7, 4))
    for k in keys:
        if k not in ("step", "minutes", "crops_per_s"):
            ax.plot([r["step"] for r in rows if k in r], [r[k] for r in rows if k in r], label=k)
    ax.set_yscale("symlog", linthresh=0.01)
    ax.legend(fontsize=7)
    ax.set_xlabel("step")
    fig.savefig(log_path[:-4] + ".png", dpi=80)
    plt.close(fig)


def arguments(argv=None):
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--stage", required=True, choices=["denoiser", "edit", "id2face"])
    ap.add_argument("--minutes", type=float, default=9)
    ap.add_argument("--resume", action="store_true")
    ap.add_argument("--work", default=os.path.join(HERE, "runs"))
    ap.add_argument("--run", default=os.path.join(HERE, "runs", "v1"))
    ap.add_argument("--small", default=os.path.join(HERE, "..", "small"))
    ap.add_argument("--config", default=os.path.join(HERE, "config.toml"))
    ap.add_argument("--peer", help="run folder of a second process of the same stage to average weights with")
    ap.add_argument("--seed", type=int, default=0, help="added to the config's, for a second process")
    ap.add_argument("--batch", type=int)
    ap.add_argument("--width", type=float, default=1.0)
    ap.add_argument("--lr", type=float)
    ap.add_argument("--max-steps", type=int)
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--parts", action="store_true", help="also leave the state in parts below 16 MB (state.pt.part00 ...), which --resume reads")
    ap.add_argument("--travel", metavar="FILE", help="write the averaged weights alone to FILE (as a state.pt of a new --run folder) and end")
    return ap.parse_args(argv)


if __name__ == "__main__":
    args = arguments()
    try:
        trainer = Trainer(args, tomllib.load(open(args.config, "rb")))
        trainer.travel(args.travel) if args.travel else trainer.run()
    except (MemoryError, torch.OutOfMemoryError) as e:
        sys.exit(f"train {args.stage}: out of memory at batch {args.batch}: {e}; give a smaller --batch")
