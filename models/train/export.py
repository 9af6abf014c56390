"""Writes the pack: ONNX files in three precisions, the id2face parts, pack.toml; checks each against PyTorch.

  python export.py --run runs/v1 --pack ../nullface-128 [--precisions fp32,fp16,int8]
Why float32 inputs and outputs in every precision: one engine path, the casts are inside the graph.
Why static INT8 with the first and last convolution and the two smoothings left in float: they carry pixels; an eighth of a grey
level matters there.
Limits: legacy exporter at opset 17, which ONNX Runtime, TensorRT and OpenCV read; batch is the only free dimension.
"""
import argparse
import hashlib
import json
import os
import sys
import tempfile
import tomllib
import warnings

import numpy as np
import onnx
import torch
import torch.nn as nn

import small
from model import to_depth
from train import build

HERE = os.path.dirname(os.path.abspath(__file__))
OPSET = 17
# Largest difference to PyTorch in units of -1..1 (1/127.5 = one grey level), on noised training-like input.
TOLERANCE = {"fp32": 1e-3, "fp16": 2e-2, "int8": 0.35}
MEAN_TOLERANCE = {"fp32": 1e-4, "fp16": 2e-3, "int8": 0.03}
VERSION = "6.0.0"


class Encode(nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.v = vae

    def forward(self, identity):
        return self.v.encode(identity)


class Decode(nn.Module):
    def __init__(self, vae):
        super().__init__()
        self.v = vae

    def forward(self, latent):
        return self.v.decode(latent)


class Half(nn.Module):
    """Half-precision weights behind float32 doors; the noise level's features are formed in float32."""

    def __init__(self, net):
        super().__init__()
        self.net = net.half()

    def forward(self, x, prior, lam, identity, identity_mask, attributes):
        n = self.net
        from model import finished, lambda_features
        import torch.nn.functional as F
        h = lambda t: t.half()
        x, p, idm = h(x), h(prior), h(identity_mask)
        e = n.t(h(lambda_features(lam))) + n.id(torch.cat([h(identity) * idm * n.scale, idm], 1)) + n.at(h(attributes))
        return finished(prior, n.residual(x, p, F.silu(e)).float())


def onnx_export(net, args, path, inputs, outputs):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net, args, path, input_names=inputs, output_names=outputs, opset_version=OPSET, dynamo=False,
                          dynamic_axes={k: {0: "n"} for k in inputs + outputs}, do_constant_folding=True)
    m = onnx.load(path)
    m.producer_name, m.producer_version, m.doc_string = "nullface", VERSION, ""
    for node in m.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    onnx.checker.check_model(m)
    onnx.save(m, path)


def example(n, seed=0, x=None, p=None):
    g = torch.Generator().manual_seed(seed)
    r = lambda *s: torch.randn(*s, generator=g)
    e = torch.nn.functional.normalize(r(n, 192), dim=1)
    a = torch.zeros(n, 17)
    a[:, 3] = 1
    return (r(n, 48, 32, 32) * 0.7 if x is None else x, r(n, 48, 32, 32).clamp(-1, 1) * 0.5 if p is None else p, torch.linspace(-0.7, 1.0, n), e, torch.ones(n, 1), a)


def real_examples(work, cfg, n, seed=3):
    """Noised composites out of training rows: what calibration and the tolerance check are done on."""
    from batches import Batches
    from model import alpha_sigma
    b = Batches(work, cfg, seed).draw(n)
    lam = torch.linspace(-0.7, 1.0, n)
    a, s = alpha_sigma(lam)
    xt = a * b["p"] + s * torch.randn(b["p"].shape, generator=torch.Generator().manual_seed(seed))
    return to_depth(xt), to_depth(b["p"]), lam, b["et"], torch.ones(n, 1), b["at"]


NAMES = ["x", "prior", "lambda", "identity", "identity_mask", "attributes"]


def quantise(fp32, path, examples):
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):
        def __init__(self):
            self.rows = iter([{k: v[i:i + 4].numpy() for k, v in zip(NAMES, examples)} for i in range(0, len(examples[0]) - 3, 4)])

        def get_next(self):
            return next(self.rows, None)
    with tempfile.TemporaryDirectory() as d:
        pre = os.path.join(d, "pre.onnx")
        quant_pre_process(fp32, pre, skip_symbolic_shape=True)
        convs = [n.name for n in onnx.load(pre).graph.node if n.op_type == "Conv"]
        quantize_static(pre, path, Reader(), quant_format=QuantFormat.QDQ, op_types_to_quantize=["Conv"], per_channel=True, weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
                        calibrate_method=CalibrationMethod.Percentile, nodes_to_exclude=[convs[0], *convs[-3:]], extra_options=dict(CalibPercentile=99.99, ActivationSymmetric=False))


def compare(path, want, args, names, tol=None, mean_tol=None, what=""):
    got = small.session(path).run(None, {k: v.numpy() for k, v in zip(names, args)})
    want = [w.detach().numpy() for w in (want if isinstance(want, (tuple, list)) else [want])]
    worst = max(float(np.abs(g - w).max()) for g, w in zip(got, want))
    mean = max(float(np.abs(g - w).mean()) for g, w in zip(got, want))
    if not (np.isfinite(worst) and (tol is None or worst <= tol) and (mean_tol is None or mean <= mean_tol)):
        sys.exit(f"export {what}: expected ONNX within {tol} (mean {mean_tol}) of PyTorch, got {worst:.4g} (mean {mean:.4g})")
    return worst, mean


def tensors(path):
    m = onnx.load(path, load_external_data=False)
    kind = {1: "float32", 10: "float16", 7: "int64"}

    def one(v):
        dims = [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim]
        return dict(name=v.name, shape=dims, dtype=kind[v.type.tensor_type.elem_type])
    return [one(v) for v in m.graph.input], [one(v) for v in m.graph.output]


def file_entry(pack, key, rel):
    raw = open(os.path.join(pack, rel), "rb").read()
    text = [f"[files.{key}]", f'path = "{rel}"', f'sha256 = "{hashlib.sha256(raw).hexdigest()}"', f"bytes = {len(raw)}"]
    if rel.endswith(".onnx"):
        for side, ts in zip(("inputs", "outputs"), tensors(os.path.join(pack, rel))):
            rows = ",\n".join("  { name = %s, shape = %s, dtype = %s }" % (json.dumps(t["name"]), json.dumps(t["shape"]), json.dumps(t["dtype"])) for t in ts)
            text.append(f"{side} = [\n{rows},\n]")
    return "\n".join(text) + "\n"


def refresh(pack):
    """Hashes and sizes in pack.toml after files of the pack have changed; the rest of it stays."""
    path = os.path.join(pack, "pack.toml")
    text = open(path).read()
    for f in tomllib.loads(text)["files"].values():
        raw = open(os.path.join(pack, f["path"]), "rb").read()
        old = f'path = "{f["path"]}"\nsha256 = "{f["sha256"]}"\nbytes = {f["bytes"]}\n'
        if old not in text:
            sys.exit(f"refresh {path}: expected path, sha256 and bytes of {f['path']} in three lines, got another layout; export again")
        text = text.replace(old, f'path = "{f["path"]}"\nsha256 = "{hashlib.sha256(raw).hexdigest()}"\nbytes = {len(raw)}\n')
    with open(path, "w") as f:
        f.write(text)


def export(run, pack, work, cfg, precisions):
    state = torch.load(os.path.join(run, "state.pt"), map_location="cpu", weights_only=False)
    nets, ch = build(cfg)
    if tuple(state["channels"]) != tuple(ch):
        nets, ch = build(cfg, state["channels"][0] / cfg["net"]["channels"][0])
    nets.load_state_dict(state["ema"])
    nets.eval()
    os.makedirs(pack, exist_ok=True)
    real = real_examples(work, cfg, 32) if os.path.exists(os.path.join(work, "pairs-ready")) else example(32)
    report = {}
    at = lambda f: os.path.join(pack, f)
    with torch.no_grad():
        want = nets["denoiser"](*real)
        onnx_export(nets["denoiser"], example(2), at("denoiser.onnx"), NAMES, ["x0"])
        report["fp32"] = compare(at("denoiser.onnx"), want, real, NAMES, TOLERANCE["fp32"], MEAN_TOLERANCE["fp32"], "fp32")
        if "fp16" in precisions:
            import copy
            onnx_export(Half(copy.deepcopy(nets["denoiser"])), example(2), at("denoiser.fp16.onnx"), NAMES, ["x0"])
            report["fp16"] = compare(at("denoiser.fp16.onnx"), want, real, NAMES, TOLERANCE["fp16"], MEAN_TOLERANCE["fp16"], "fp16")
        if "int8" in precisions:
            quantise(at("denoiser.onnx"), at("denoiser.int8.onnx"), real)
            report["int8"] = compare(at("denoiser.int8.onnx"), want, real, NAMES, TOLERANCE["int8"], MEAN_TOLERANCE["int8"], "int8")
        e = example(2)
        small_nets = [("id2face_encoder", Encode(nets["vae"]), (e[3],), ["identity"], ["mean", "log_variance"]),
                      ("id2face_decoder", Decode(nets["vae"]), (torch.randn(2, nets["vae"].latent),), ["latent"], ["identity"]),
                      ("id2face_non_identity", nets["non"], (e[0],), ["x"], ["non_identity"]),
                      ("id2face_gate", nets["gate"], (e[0], e[2], e[3], torch.zeros(2, 64)), ["x", "lambda", "identity", "non_identity"], ["condition"])]
        for name, net, args, i, o in small_nets:
            onnx_export(net, args, at(name + ".onnx"), i, o)
            report[name] = compare(at(name + ".onnx"), net(*args), args, i, 1e-3, None, name)
    have = [p for p, f in (("fp32", "denoiser.onnx"), ("fp16", "denoiser.fp16.onnx"), ("int8", "denoiser.int8.onnx")) if p in precisions]
    write_manifest(pack, cfg, have, state["steps"])
    for k, v in report.items():
        print(f"{k}: largest difference to PyTorch {v[0]:.2e}, mean {v[1]:.2e}")


def write_manifest(pack, cfg, have, steps):
    head = open(os.path.join(HERE, "pack-head.toml")).read()
    key = dict(fp32="denoiser", fp16="denoiser_fp16", int8="denoiser_int8")
    head = head.replace("@FILES@", ", ".join(f'{p} = "{key[p]}"' for p in have)).replace("@VERSION@", VERSION)
    head = head.replace("@COS@", str(cfg["basis"]["far_1e3_cos"])).replace("@STEPS@", ", ".join(f"{k} = {v}" for k, v in steps.items()))
    figures = os.path.join(pack, "figures.toml")
    if os.path.exists(figures):
        head += "\n" + open(figures).read()
    files = [(key[p], f"denoiser{'' if p == 'fp32' else '.' + p}.onnx") for p in have]
    files += [(n, n + ".onnx") for n in ("id2face_encoder", "id2face_decoder", "id2face_non_identity", "id2face_gate")]
    files += [("basis", "basis/basis.toml"), ("basis_textures", "basis/textures.png"), ("basis_mask", "basis/mask.png"), ("basis_numbers", "basis/basis.f32le"), ("basis_triangles", "basis/triangles.u16le")]
    text = head.rstrip() + "\n\n" + "\n".join(file_entry(pack, k, f) for k, f in files)
    tomllib.loads(text)
    with open(os.path.join(pack, "pack.toml"), "w") as f:
        f.write(text)


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--run", default=os.path.join(HERE, "runs", "v1"))
    ap.add_argument("--work", default=os.path.join(HERE, "runs"))
    ap.add_argument("--pack", default=os.path.join(HERE, "..", "nullface-128"))
    ap.add_argument("--config", default=os.path.join(HERE, "config.toml"))
    ap.add_argument("--precisions", default="fp32,fp16,int8")
    a = ap.parse_args()
    torch.set_num_threads(1)
    export(a.run, a.pack, a.work, tomllib.load(open(a.config, "rb")), a.precisions.split(","))
