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
import json
import math
import os
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


def save(path, **state):
    tmp = path + ".new"
    torch.save(state, tmp)
    os.replace(tmp, path)


def load_state(path, ch, device):
    s = torch.load(path, map_location=device, weights_only=False)
    if tuple(s.get("channels", ())) != tuple(ch):
        sys.exit(f"resume {path}: expected a network of channels {tuple(ch)}, got {s.get('channels')}; use the config it was trained with, or another --run folder")
    return s


def robust(d):
    return torch.sqrt(d * d + 1e-4)


def gradients(x):
    return x[..., 1:, :] - x[..., :-1, :], x[..., :, 1:] - x[..., :, :-1]


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
        # measured on a CPU: backward is a third slower in channels-last
        self.layout = torch.channels_last if self.dev == "cuda" else torch.contiguous_format
        self.nets.to(self.dev, memory_format=self.layout)
        self.critic = Critic().to(self.dev)
        self.path = os.path.join(a.run, "state.pt")
        os.makedirs(a.run, exist_ok=True)
        self.steps = dict(denoiser=0, edit=0, id2face=0)
        state = None
        if a.resume and os.path.exists(self.path):
            state = load_state(self.path, self.ch, self.dev)
            self.nets.load_state_dict(state["nets"])
            self.critic.load_state_dict(state["critic"])
            self.steps = state["steps"]
        elif os.path.exists(self.path) and not a.resume:
            sys.exit(f"train: {self.path} exists; expected --resume to go on, or another --run folder")
        self.ema = copy.deepcopy(self.nets).eval()
        if state:
            self.ema.load_state_dict(state["ema"])
        parts = dict(denoiser=["denoiser"], edit=["denoiser"], id2face=["vae", "non", "gate"])[a.stage]
        self.params = [p for k in parts for p in self.nets[k].parameters()]
        for p in self.nets.parameters():
            p.requires_grad_(False)
        for p in self.params:
            p.requires_grad_(True)
        self.lr = a.lr or self.t["lr"] * (0.5 if a.stage == "edit" else 1)
        self.opt = torch.optim.AdamW(self.params, lr=self.lr, weight_decay=self.t["weight_decay"], betas=(0.9, 0.99))
        self.copt = torch.optim.AdamW(self.critic.parameters(), lr=3e-4, betas=(0.5, 0.99))
        if state and state.get("stage") == a.stage and "opt" in state:
            self.opt.load_state_dict(state["opt"])
            self.copt.load_state_dict(state["copt"])
        self.rec, _ = small.torch_recogniser(a.small)
        self.mesh = small.torch_mesh(a.small)[0] if a.stage == "edit" else None
        torch.manual_seed(self.t["seed"] + 1000 * a.seed + sum(self.steps.values()))
        self.batches = Batches(a.work, cfg, self.t["seed"] + 1000 * a.seed + sum(self.steps.values()))

    # ---- one-step operator -------------------------------------------------------------------------------------------
    def f(self, xt, p, lam, c, cm, at):
        cl = lambda z: z.contiguous(memory_format=self.layout)
        with torch.autocast(self.dev, torch.bfloat16, enabled=self.dev == "cuda"):
            o = self.nets["denoiser"](cl(to_depth(xt)), cl(to_depth(p)), lam, c, cm, at)
        return to_space(o.float())

    def noised(self, base, lam):
        a, s = alpha_sigma(lam)
        return a * base + s * torch.randn_like(base)

    def lam(self, n, mean=None, sd=None):
        return torch.randn(n, device=self.dev) * (sd or self.t["lambda_sd"]) + (self.t["lambda_mean"] if mean is None else mean)

    def reconstruct(self, b):
        """Composite of somebody else in, the real crop out."""
        n, t = len(b["x"]), self.t
        lam = self.lam(n)
        u = torch.rand(n, 4, device=self.dev)
        p = torch.where((u[:, 0] < t["drop_prior"])[:, None, None, None], torch.zeros_like(b["p"]), b["p"])
        p = torch.where((u[:, 1] < t["frame_prior"])[:, None, None, None], b["x"], p)
        cm = (u[:, 2:3] > t["drop_identity"]).float()
        at = b["a"] * (u[:, 3:4] > t["drop_attributes"]).float()
        o = self.f(self.noised(b["x"], lam), p, lam, b["e"], cm, at)
        w = b["v"] * (t["outside_weight"] + b["m"])
        loss = (w * robust(o - b["x"])).sum() / (3 * w.sum())
        sharp = sum((b["v"][..., :y.shape[-2], :y.shape[-1]] * robust(y - z)).mean() for y, z in zip(gradients(o), gradients(b["x"])))
        return o, loss, sharp, cm

    def targets(self, b):
        """Identity asked for in the edit stage: mostly the composite's own person, also strangers, -e and directions across e."""
        n = len(b["e"])
        u = torch.rand(n, 1, device=self.dev)
        stranger = b["e"].roll(1, 0)
        r = F.normalize(stranger + 0.5 * F.normalize(torch.randn_like(stranger), dim=1), dim=1)
        across = F.normalize(r - (r * b["e"]).sum(1, keepdim=True) * b["e"], dim=1)
        c = torch.where(u < 0.55, b["et"], torch.where(u < 0.7, stranger, torch.where(u < 0.85, across, -b["e"])))
        return c, (u < 0.7).float(), (u < 0.55).float()

    def critic_loss(self, real, fake):
        return F.relu(1 - self.critic(real)).mean() + F.relu(1 + self.critic(fake)).mean()

    def step_denoiser(self):
        t = self.t
        b = self.put(self.batches.draw(self.a.batch or t["batch"]))
        o, rec, sharp, cm = self.reconstruct(b)
        k = max(1, int(len(o) * t["identity_share"]))
        ident = ((1 - (self.rec(o[:k].clamp(-1, 1)) * b["e"][:k]).sum(1, keepdim=True)) * cm[:k]).mean()
        return rec + 0.5 * sharp + 0.04 * ident, dict(rec=rec, sharp=sharp, ident=ident)

    def step_edit(self):
        t = self.t
        n = self.a.batch or t["batch"]
        b = self.put(self.batches.draw(n, pairs_of_people=self.steps["edit"] % 4 == 0))
        h = n // 2
        cut = lambda lo, hi: {k: v[lo:hi] for k, v in b.items()}
        r, d = cut(0, h), cut(h, n)
        o1, rec, sharp, _ = self.reconstruct(r)
        # the operator as it is run: base = composite (or now and then the frame), frozen noise, target asked for
        frame = (torch.rand(len(d["x"]), 1, 1, 1, device=self.dev) < 0.2).float()
        base = frame * d["x"] + (1 - frame) * d["p"]
        lam = self.lam(len(base), 0.0, 0.7)
        c, reachable, own = self.targets(d)
        o = self.f(self.noised(base, lam), base, lam, c, torch.ones(len(c), 1, device=self.dev), d["at"] * own)
        out = base * (1 - d["m"]) + o * d["m"]
        e = self.rec(out.clamp(-1, 1))
        to = 1 - (e * c).sum(1, keepdim=True)
        back = F.relu((e * d["e"]).sum(1, keepdim=True) - 0.05)
        ident = (to * (0.35 + 0.65 * reachable) + 2.0 * back).mean()
        light = robust(low(out) - low(d["x"])).mean()
        # without the coarse part the identity term paints pale patches that only the recogniser likes
        coarse = F.avg_pool2d(o - base, 4)
        keep = (robust(o - base) * (1 - d["m"])).mean() + 0.15 * (robust(o - base) * d["m"]).mean() + 1.5 * (robust(coarse) * F.avg_pool2d(d["m"], 4)).mean()
        q = max(1, h // 4)
        pad = lambda z: F.pad(z, (8, 8, 8, 8), mode="reflect")
        with torch.no_grad():
            want = self.mesh(pad(d["x"][:q]))
        land = (self.mesh(pad(out[:q].clamp(-1, 1))) - want).abs().mean() / 56.0
        mm = F.avg_pool2d(d["m"], 17, 4)
        fine = (mm * (grain(out) - grain(d["x"])).abs()).sum() / (mm.sum() + 1e-3)
        # the critic learns before it judges: its weights must not change between judging and the backward pass
        closs = self.critic_loss(d["x"], out.detach())
        self.copt.zero_grad(set_to_none=True)
        closs.backward()
        self.copt.step()
        fool = -self.critic(out).mean()
        same = torch.zeros((), device=self.dev)
        loss = rec + 0.5 * sharp + 0.06 * ident + 0.5 * light + 0.5 * keep + 0.5 * land + 0.08 * fine + 0.005 * fool
        # frames of one person asked for one target must give one face
        if self.steps["edit"] % 4 == 0 and len(d["x"]) % 2 == 0:
            one = c[0::2].repeat_interleave(2, 0)
            o2 = self.f(self.noised(d["p"], lam), d["p"], lam, one, torch.ones(len(one), 1, device=self.dev), torch.zeros_like(d["at"]))
            e2 = self.rec((d["p"] * (1 - d["m"]) + o2 * d["m"]).clamp(-1, 1))
            same = (1 - (e2[0::2] * e2[1::2]).sum(1)).mean()
            loss = loss + 0.05 * same
        return loss, dict(rec=rec, ident=to.mean(), back=back.mean(), light=light, land=land, fine=fine, critic=closs, same=same)

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
        cn = nn_ - nn_.mean(0)
        ce = b["e"] - b["e"].mean(0)
        leak = ((cn.T @ ce / n) ** 2).mean() * 192                            # what one half says about the other
        return vloss + rec + 0.02 * align + leak, dict(vae=vloss, kl=kl, rec=rec, align=align, leak=leak)

    # ---- loop --------------------------------------------------------------------------------------------------------
    def put(self, b):
        return {k: v.to(self.dev, non_blocking=True) for k, v in b.items()}

    def write(self, keep_optimiser=True):
        save(self.path, nets=self.nets.state_dict(), ema=self.ema.state_dict(), critic=self.critic.state_dict(), steps=self.steps, channels=self.ch, stage=self.a.stage,
             config=self.cfg, **(dict(opt=self.opt.state_dict(), copt=self.copt.state_dict()) if keep_optimiser else {}))

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
    return ap.parse_args(argv)


if __name__ == "__main__":
    args = arguments()
    try:
        Trainer(args, tomllib.load(open(args.config, "rb"))).run()
    except (MemoryError, torch.OutOfMemoryError) as e:
        sys.exit(f"train {args.stage}: out of memory at batch {args.batch}: {e}; give a smaller --batch")
