#!/usr/bin/env python3
"""Builds a big pack from checkpoints on this machine: one command, no network.

  python build.py sd15-faceid --base DIR --adapter FILE --arcface FILE --out DIR [--autoencoder DIR] [--speed-lora FILE]
  python build.py sdxl-faceid --base DIR --adapter FILE --arcface FILE --out DIR [--autoencoder DIR] [--speed-lora FILE]

README.md beside this says which files to fetch, under which licences, and how large a pack becomes.
Every network is run by ONNX Runtime against PyTorch before pack.toml is written; a difference ends the export.
"""
import argparse
import json
import os
import shutil
import sys

import numpy as np
import torch

import load
import nets
import vocabulary
import write

# Largest difference to PyTorch, relative to the largest value; half precision is 2^-11 an operation and a U-Net has hundreds.
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2}
CROP_PX = {"sd15": 512, "sdxl": 1024}
LIMITS = {
    "sd15": "512 px crops; hands, glasses and profiles come out weakly; one text at a time",
    "sdxl": "1024 px crops; needs a GPU with 12 GB or more; one text at a time",
}


def defaults(speed):
    """Published signs and policies with fewer steps; a distilled pack takes two, told one level more noise."""
    few = 'spacing = { rule = "linspace", skip = 0.7 }\nsteps = 20\nrescale = 0.0'
    fast = 'spacing = { rule = "linspace", skip = 0.5 }\nsteps = 2\nrescale = 0.7\ntimestep_shift = "one-step-lower"'
    body, w = (fast, 2.0) if speed else (few, 10.0)
    row = '[defaults.{0}]\nsolver = "sde-dpmpp-2m"\n{1}\nguidance = {2}\nidentity = "{3}"\n'
    return "\n".join([row.format("nullface", body, w, "orthogonal"), row.format("reverse", body, -w, "repel"), row.format("id2face", body, w, "orthogonal")])


def head(args, kind, vae, crop_px, factor, tokens, width, dimension, words, unet, speed):
    scale, shift = nets.scale_and_shift(vae)
    scheduler = args["scheduler"]
    kinds = {"scaled_linear": "scaled-linear", "linear": "linear"}
    predictions = {"epsilon": "eps", "v_prediction": "v", "sample": "x0"}
    empty = next(key for word, key in words if word == "")
    lines = [
        "# Written by models/export/build.py.", "format = 1", f"name = {json.dumps(args['name'])}", 'version = "1.0.0"',
        f"licence = {json.dumps(args['licence'])}", f"trained_on = {json.dumps(args['trained_on'])}",
        'intended_use = "anonymisation of faces in film on a GPU"', f"limits = {json.dumps(LIMITS[kind])}",
        f"prediction = \"{predictions[scheduler.config.prediction_type]}\"", "",
        "[crop]", 'template = "arcface-112"', f"size_px = {crop_px}", "margin = 0.0", "",
        "[latent]", 'kind = "autoencoder"', f"channels = {unet.config.in_channels}", f"factor = {factor}", f"scale = {scale!r}", f"shift = {shift!r}",
        'encoder = "encoder"', 'decoder = "decoder"', "",
        "[schedule]", f"kind = \"{kinds[scheduler.config.beta_schedule]}\"", f"beta_start = {scheduler.config.beta_start!r}",
        f"beta_end = {scheduler.config.beta_end!r}", f"steps = {scheduler.config.num_train_timesteps}", "",
        "[denoiser]", 'interface = "cross-attention"', 'output = "prediction"', f"files = {{ {args['precision']} = \"denoiser\" }}",
        f"text_len = {width}", f"empty_text = {json.dumps(empty)}",
        "[denoiser.inputs]", 'x = "x"', 'time = "time"', 'identity = "identity"', 'text = "text"', "",
        "[identity]", 'recogniser = "recogniser"', 'preprocessing = "(v - 127.5) / 127.5, NCHW, RGB, 112 px"', f"dimension = {dimension}", 'null = "zeros"', "",
        "[attributes]", "length = 0", "[attributes.vocabulary]", *[f"{json.dumps(w)} = {json.dumps(k)}" for w, k in words if w], "",
        defaults(speed),
    ]
    return "\n".join(lines) + "\n"


def recogniser(arcface, out, dimension):
    """Copies the user's file; refuses one that is no 112 px recogniser of the adapter's dimension."""
    import onnxruntime
    load.need(arcface, "recogniser")
    session = onnxruntime.InferenceSession(arcface, providers=["CPUExecutionProvider"])
    ins, outs = session.get_inputs(), session.get_outputs()
    if len(ins) != 1 or list(ins[0].shape[1:]) != [3, 112, 112] or len(outs) != 1 or outs[0].shape[-1] != dimension:
        sys.exit(f"export: recogniser {arcface}: expected one input n x 3 x 112 x 112 and one output of {dimension} values, "
                 f"got {[i.shape for i in ins]} and {[o.shape for o in outs]}")
    shutil.copyfile(arcface, os.path.join(out, "recogniser.onnx"))
    return ins[0].name, outs[0].name


def build(kind, out, base, adapter, arcface, autoencoder=None, speed_lora=None, precision="fp16", distilled=False, beside=False,
          name=None, licence="see the licences of the base checkpoint, the adapter and the recogniser", trained_on="see the cards of the checkpoints", words=None):
    os.makedirs(out, exist_ok=True)
    pipe = load.pipeline(kind, base, adapter, autoencoder, speed_lora)
    unet, vae, half = pipe.unet, pipe.vae, precision == "fp16"
    side = unet.config.sample_size
    factor = 2 ** (len(vae.config.block_out_channels if "block_out_channels" in vae.config else vae.config.encoder_block_out_channels) - 1)
    crop_px, tokens, dimension = side * factor, load.tokens_of(pipe), load.identity_dimension(pipe)
    rows = {word: load.text_row(pipe, prompt) for word, prompt in (words or vocabulary.prompts()).items()}
    width = len(rows[""])
    g = torch.Generator().manual_seed(1)
    draw = lambda *s: torch.randn(*s, generator=g)
    files = []

    def export(key, net, args, inputs, output, precision):
        want = net(*args)
        names = write.network(net, args, os.path.join(out, f"{key}.onnx"), inputs, output, beside)
        off = write.check(os.path.join(out, names[0]), args, inputs, want, TOLERANCE[precision], key)
        print(f"{key}: {sum(os.path.getsize(os.path.join(out, n)) for n in names) / 1e6:.1f} MB, {off:.1e} of PyTorch")
        files.append((key, names[0], f"{key}_data" if len(names) == 2 else None))
        if len(names) == 2:
            files.append((f"{key}_data", names[1], None))

    vae_half = half and nets.autoencoder_may_be_half(vae)
    kept = "fp16" if vae_half else "fp32"
    with torch.no_grad():
        pixels = draw(2, 3, crop_px, crop_px).clamp(-1, 1)
        export("encoder", nets.Encoder(vae, vae_half), (pixels,), ["pixels"], "latents", kept)
        export("decoder", nets.Decoder(vae, vae_half), (draw(2, unet.config.in_channels, side, side),), ["latents"], "pixels", kept)
        text = torch.from_numpy(np.stack([rows[""], rows[""]]))
        identity = torch.nn.functional.normalize(draw(2, dimension), dim=1)
        export("denoiser", nets.Denoiser(unet, tokens, crop_px, half), (draw(2, unet.config.in_channels, side, side), torch.tensor([299.0, 11.0]), identity, text),
               ["x", "time", "identity", "text"], "prediction", precision)
    recogniser(arcface, out, dimension)
    files.append(("recogniser", "recogniser.onnx", None))
    os.makedirs(os.path.join(out, "text"), exist_ok=True)
    keys = []
    for i, (word, row) in enumerate(rows.items()):
        key, file = f"text_{i}", f"text/{i}.f32le"
        row.astype("<f4").tofile(os.path.join(out, file))
        keys.append((word, key))
        files.append((key, file, None))
    facts = dict(scheduler=pipe.scheduler, name=name or f"{kind}-faceid", licence=licence, trained_on=trained_on, precision=precision)
    toml = head(facts, kind, vae, crop_px, factor, tokens, width, dimension, keys, unet, speed_lora or distilled)
    with open(os.path.join(out, "pack.toml"), "w", encoding="utf-8") as f:
        f.write(toml + "\n" + "\n".join(write.entry(out, *row) for row in files))
    return pipe


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("kind", choices=["sd15-faceid", "sdxl-faceid"])
    for flag, text in (("base", "diffusers folder of the base checkpoint"), ("adapter", "IP-Adapter-FaceID file"), ("arcface", "ArcFace ONNX file"), ("out", "folder of the pack")):
        p.add_argument(f"--{flag}", required=True, help=text)
    p.add_argument("--autoencoder", help="folder of another autoencoder (a tiny one is many times faster)")
    p.add_argument("--speed-lora", help="LCM or turbo LoRA, fused; the pack then runs two steps")
    p.add_argument("--distilled", action="store_true", help="the base itself is a turbo or LCM checkpoint")
    p.add_argument("--precision", choices=["fp16", "fp32"], default="fp16")
    p.add_argument("--name")
    a = p.parse_args()
    build(a.kind.split("-")[0], a.out, a.base, a.adapter, a.arcface, a.autoencoder, a.speed_lora, a.precision, a.distilled, name=a.name)
    print(f"{a.out}: {sum(os.path.getsize(os.path.join(d, f)) for d, _, fs in os.walk(a.out) for f in fs) / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
