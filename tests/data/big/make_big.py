#!/usr/bin/env python3
"""Writes the two tiny big packs beside this file and golden.json: the edits as diffusers runs them, in float64.

  python tests/data/big/make_big.py        (needs models/export/requirements.txt)

Checkpoints: models/export/tests/tiny.py. Reference: models/export/tests/reference.py. Inputs are sums of sines that both sides make.
"""
import json
import os
import shutil
import sys
import tempfile

import torch

HERE = os.path.dirname(os.path.abspath(__file__))
EXPORT = os.path.join(HERE, "..", "..", "..", "models", "export")
sys.path[:0] = [EXPORT, os.path.join(EXPORT, "tests")]
import build  # noqa: E402
import reference  # noqa: E402
import tiny  # noqa: E402

WORDS = {"": "", "sex=female": "a woman", "age=70": "old", "age=70,sex=female": "old a"}
NOTICE = dict(licence="MIT OR Apache-2.0: random weights", trained_on="nothing: random weights")


def numbers(t):
    return [float(f"{v:.7g}") for v in t.reshape(-1).tolist()]


def cases(name):
    """name, solver, levels in the engine's words, guidance, promoted word, told times."""
    if name == "faceid":
        yield "nullface", reference.ddim(10, 4), dict(solver="ddpm", spacing={"rule": "ddim", "skip": 0.6}, steps=10), -1.0, 3.0, "", None
        yield "reverse", reference.sde([299, 224, 150, 75, 1]), dict(solver="sde-dpmpp-2m", spacing={"rule": "linspace", "skip": 0.7}, steps=5), 1.0, -3.0, "age=70,sex=female", None
    else:
        yield "two steps, told one level more", reference.sde([250, 1]), dict(solver="sde-dpmpp-2m", spacing={"rule": "linspace", "skip": 0.5}, steps=2, timestep_shift="one-step-lower"), -1.0, 1.5, "", [499, 250]


def golden(name, pipe, crop_px):
    model = reference.Model(pipe, crop_px)
    pixels = 0.4 * reference.wave((1, 3, crop_px, crop_px), 1)
    identity = torch.nn.functional.normalize(reference.wave((1, tiny.IDENTITY), 2), dim=1)[0]
    x0 = reference.encode(pipe, pixels)
    made = []
    for title, solver, plan, sign, w, word, told in cases(name):
        noise = [reference.wave(x0.shape, 100 + i) for i in range(len(solver[1]))]
        out = reference.edit(model, x0, noise, solver, sign * identity, WORDS[word], w, told)
        moved = float((out - x0).abs().max())
        if not 0.05 < moved < 50:
            sys.exit(f"{name} {title}: expected an edit that shows, got {moved}")
        made.append(dict(name=title, plan=plan, sign=sign, guidance=w, word=word, latents=numbers(out), pixels=numbers(reference.decode(pipe, out))))
        print(name, title, "edit up to", round(moved, 3), "latents up to", round(float(out.abs().max()), 2))
    return dict(pack=name, x0=numbers(x0), cases=made)


def main():
    out = []
    for name, kind in (("faceid", "sd15"), ("turbo", "sdxl")):
        with tempfile.TemporaryDirectory() as folder:
            parts = tiny.checkpoints(kind, folder)
            target = os.path.join(HERE, name)
            shutil.rmtree(target, ignore_errors=True)
            build.build(kind, target, **parts, precision="fp32", beside=kind == "sdxl", name=f"tiny-{name}", words=WORDS, **NOTICE)
            side = 32
            out.append(golden(name, reference.unfused(kind, **parts), side))
    with open(os.path.join(HERE, "golden.json"), "w", encoding="utf-8") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
