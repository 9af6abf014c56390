#!/usr/bin/env python3
"""The packs' networks on a GPU: the same answers as the processor's, and how long they take.

usage: scripts/gpu_networks.py [--dry-run] [--runtime FOLDER] [--seconds N]
Run by scripts/gpu-check.sh. ONNX Runtime's CUDA provider where it can be had, else the default pack's denoiser
in PyTorch from the weights of its ONNX file. --dry-run: the processor alone, small. One line a claim, then a count.
"""
import argparse
import glob
import os
import struct
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PACK = os.path.join(ROOT, "models", "nullface-128")
# Largest difference to the processor, relative to the largest value: TF32 and half sums in other orders.
TOLERANCE = {"denoiser.onnx": 5e-3, "denoiser.fp16.onnx": 2e-2}
# Whole engine: four faces in 4 ms; the denoiser may take half of it.
MOST_MS = 2.0
COUNT = [0, 0]


def claim(name, run):
    try:
        told = run()
        print(f"PASS {name}: {told}")
        COUNT[0] += 1
    except Exception as e:  # every failure is a line, whatever it is
        print(f"FAIL {name}: {type(e).__name__}: {str(e).splitlines()[0] if str(e) else 'no words'}")
        COUNT[1] += 1


def feeds(session, rows, np):
    made = {}
    for number, i in enumerate(session.get_inputs()):
        shape = [rows if k == 0 else d for k, d in enumerate(i.shape)]
        made[i.name] = np.random.default_rng(number).normal(size=shape).astype(np.float32) * 0.5
    return made


def percentiles(run, seconds):
    for _ in range(5):
        run()
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 20:
        start = time.perf_counter()
        run()
        times.append(1e3 * (time.perf_counter() - start))
    times.sort()
    return times[len(times) // 2], times[int(len(times) * 0.95)], len(times)


def on_runtime(ort, np, args):
    big = sorted(glob.glob(os.path.join(ROOT, "tests", "data", "big", "*", "denoiser.onnx")))
    for path in [os.path.join(PACK, f) for f in TOLERANCE] + big:
        name = os.path.relpath(path, ROOT)

        def parity():
            # Eight rows: reference and conditional of four faces.
            cpu = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
            given = feeds(cpu, 2 if args.dry_run else 8, np)
            want = cpu.run(None, given)[0]
            if not (np.isfinite(want).all() and np.abs(want).max() > 0):
                raise ValueError("the processor's answer is nothing to compare with")
            if args.dry_run:
                return f"runs on the processor, {want.size} values"
            options = ort.SessionOptions()
            options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
            gpu = ort.InferenceSession(path, options, providers=["CUDAExecutionProvider"])
            got = gpu.run(None, given)[0]
            off = float(np.abs(got - want).max() / np.abs(want).max())
            if not off <= TOLERANCE.get(os.path.basename(path), 5e-3) or not np.isfinite(got).all():
                raise ValueError(f"off by {off:.2e} of the largest value")
            return f"off by {off:.1e}"
        claim(f"network {name}", parity)
    if not args.dry_run:
        claim("speed of the default pack, 4 faces", lambda: runtime_speed(ort, np, args))
        claim("default pack on a stream of ours, no wait at a run's end", lambda: on_our_stream(ort, np, args))
        claim("default pack by a CUDA graph", lambda: by_graph(ort, np, args))


def runtime_speed(ort, np, args):
    """Inputs and outputs bound on the device, so that no copy is measured."""
    session = ort.InferenceSession(os.path.join(PACK, "denoiser.fp16.onnx"), providers=["CUDAExecutionProvider"])
    binding = session.io_binding()
    kept = []
    for name, value in feeds(session, 8, np).items():
        kept.append(ort.OrtValue.ortvalue_from_numpy(value, "cuda", 0))
        binding.bind_ortvalue_input(name, kept[-1])
    binding.bind_output(session.get_outputs()[0].name, "cuda", 0)

    def run():
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
    p50, p95, n = percentiles(run, args.seconds)
    if p95 > MOST_MS:
        raise ValueError(f"p50 {p50:.3f} ms, p95 {p95:.3f} ms of {n}; wanted {MOST_MS} ms")
    return f"p50 {p50:.3f} ms, p95 {p95:.3f} ms of {n}"


def bound(session, given, ort):
    """A binding of inputs and output on the device, and the values that it is bound to."""
    binding, kept = session.io_binding(), {}
    for name, value in given.items():
        kept[name] = ort.OrtValue.ortvalue_from_numpy(value, "cuda", 0)
        binding.bind_ortvalue_input(name, kept[name])
    binding.bind_output(session.get_outputs()[0].name, "cuda", 0)
    return binding, kept


def told(got, want, np, pack):
    off = float(np.abs(got - want).max() / np.abs(want).max())
    if not off <= TOLERANCE[os.path.basename(pack)] or not np.isfinite(got).all():
        raise ValueError(f"off by {off:.2e} of the largest value")
    return f"off by {off:.1e}"


def on_our_stream(ort, np, args):
    """What the engine does: `user_compute_stream`, and `disable_synchronize_execution_providers` for outputs on the device."""
    import ctypes
    cuda = ctypes.CDLL("libcuda.so.1")
    context, stream = ctypes.c_void_p(), ctypes.c_void_p()
    for code in (cuda.cuInit(0), cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0), cuda.cuCtxSetCurrent(context),
                 cuda.cuStreamCreate(ctypes.byref(stream), 1)):
        if code:
            raise RuntimeError(f"driver: code {code}")
    pack = os.path.join(PACK, "denoiser.fp16.onnx")
    cpu = ort.InferenceSession(pack, providers=["CPUExecutionProvider"])
    given = feeds(cpu, 8, np)
    want = cpu.run(None, given)[0]
    gpu = ort.InferenceSession(pack, providers=[("CUDAExecutionProvider", {"device_id": "0", "user_compute_stream": str(stream.value)})])
    binding, kept = bound(gpu, given, ort)
    options = ort.RunOptions()
    options.add_run_config_entry("disable_synchronize_execution_providers", "1")

    def run():
        gpu.run_with_iobinding(binding, options)
        if cuda.cuStreamSynchronize(stream):
            raise RuntimeError("cuStreamSynchronize failed")
    run()
    off = told(binding.get_outputs()[0].numpy(), want, np, pack)
    p50, p95, n = percentiles(run, args.seconds)
    del binding, kept, gpu  # the session ends before its stream
    return f"{off}, p50 {p50:.3f} ms, p95 {p95:.3f} ms of {n}"


def by_graph(ort, np, args):
    """What NULLFACE_CUDA_GRAPHS=1 does: captured once, replayed with other values in the same buffers."""
    pack = os.path.join(PACK, "denoiser.fp16.onnx")
    cpu = ort.InferenceSession(pack, providers=["CPUExecutionProvider"])
    gpu = ort.InferenceSession(pack, providers=[("CUDAExecutionProvider", {"device_id": "0", "enable_cuda_graph": "1"})])
    given = feeds(cpu, 8, np)
    output = gpu.get_outputs()[0]
    binding, kept = bound(gpu, given, ort)
    place = ort.OrtValue.ortvalue_from_numpy(np.zeros_like(cpu.run(None, given)[0]), "cuda", 0)
    binding.clear_binding_outputs()
    binding.bind_ortvalue_output(output.name, place)
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", "1")

    def run():
        gpu.run_with_iobinding(binding, options)
        binding.synchronize_outputs()
    for _ in range(3):
        run()
    other = {name: (value * 0.7 + 0.01).astype(np.float32) for name, value in given.items()}
    for name, value in other.items():
        kept[name].update_inplace(value)
    run()
    off = told(place.numpy(), cpu.run(None, other)[0], np, pack)
    p50, p95, n = percentiles(run, args.seconds)
    return f"{off} after a replay with other values, p50 {p50:.3f} ms, p95 {p95:.3f} ms of {n}"


def initializers(path):
    """Name -> (sides, kind, bytes) out of an ONNX file, without the onnx package."""
    def fields(data):
        at = 0

        def varint():
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value
        while at < len(data):
            key = varint()
            if key & 7 == 0:
                yield key >> 3, varint()
            elif key & 7 == 2:
                size = varint()
                yield key >> 3, data[at:at + size]
                at += size
            else:
                size = 8 if key & 7 == 1 else 4
                yield key >> 3, data[at:at + size]
                at += size
    with open(path, "rb") as f:
        graph = next(v for k, v in fields(memoryview(f.read())) if k == 7)
    found = {}
    for tensor in (v for k, v in fields(graph) if k == 5):
        sides, kind, name, raw = [], 1, "", b""
        for k, v in fields(tensor):
            if k == 1 and isinstance(v, int):
                sides.append(v)
            elif k == 1:
                sides += list(struct.unpack(f"{len(v)}b", v)) if len(v) < 16 else []
            elif k == 2:
                kind = v
            elif k == 8:
                name = bytes(v).decode()
            elif k == 9:
                raw = bytes(v)
        found[name] = (sides, kind, raw)
    return found


def same_as_runtime(ort, given, want):
    if ort is None:
        return "runs on the processor; no ONNX Runtime here to compare with"
    session = ort.InferenceSession(os.path.join(PACK, "denoiser.onnx"), providers=["CPUExecutionProvider"])
    got = session.run(None, {i.name: t.numpy() for i, t in zip(session.get_inputs(), given)})[0]
    off = float(abs(got - want.numpy()).max() / abs(want.numpy()).max())
    if not off <= 5e-3:
        raise ValueError(f"off by {off:.2e} of ONNX Runtime")
    return f"off by {off:.1e} of ONNX Runtime"


def on_torch(torch, ort, args):
    """The default pack's denoiser in PyTorch."""
    def run():
        import tomllib
        sys.path.insert(0, os.path.join(ROOT, "models", "train"))
        from train import build
        with open(os.path.join(ROOT, "models", "train", "config.toml"), "rb") as f:
            net = build(tomllib.load(f))
        net = net[0]["denoiser"]
        weights = initializers(os.path.join(PACK, "denoiser.onnx"))
        state = net.state_dict()
        # The exporter keeps names but those of group norms, which it numbers in the order of execution, as the model has them.
        spare = sorted((n for n in weights if n not in state and n.startswith("onnx::")), key=lambda n: int(n.rsplit("_", 1)[1]))
        left = [k for k in state if k not in weights]
        if len(spare) != len(left):
            raise ValueError(f"{len(left)} weights of the model are not in the file, {len(spare)} of the file not in the model")
        for key, name in [*((k, k) for k in state if k in weights), *zip(left, spare)]:
            _, kind, raw = weights[name]
            if kind != 1 or len(raw) != 4 * state[key].numel():
                raise ValueError(f"{name} does not fit {key}")
            state[key].copy_(torch.frombuffer(bytearray(raw), dtype=torch.float32).reshape(state[key].shape))
        put = len(state)
        device = "cpu" if args.dry_run else "cuda"
        rows = 2 if args.dry_run else 8
        g = torch.Generator().manual_seed(1)
        draw = lambda *s: torch.randn(*s, generator=g)
        given = [draw(rows, 48, 32, 32), draw(rows, 48, 32, 32), torch.zeros(rows), torch.nn.functional.normalize(draw(rows, 192), dim=1), torch.ones(rows, 1), torch.zeros(rows, 17)]
        net.eval()
        with torch.no_grad():
            want = net(*given)
            if args.dry_run:
                return f"{put} weights, {same_as_runtime(ort, given, want)}"
            net, given = net.to(device), [t.to(device) for t in given]
            half = torch.autocast("cuda", dtype=torch.float16)
            half.__enter__()
            off = float((net(*given).float().cpu() - want).abs().max() / want.abs().max())
            if not off <= TOLERANCE["denoiser.fp16.onnx"]:
                raise ValueError(f"off by {off:.2e} of the largest value")

            def once():
                net(*given)
                torch.cuda.synchronize()
            p50, p95, n = percentiles(once, args.seconds)
        return f"{put} weights, off by {off:.1e}, p50 {p50:.3f} ms, p95 {p95:.3f} ms of {n} (PyTorch, no graph)"
    claim("default pack's denoiser in PyTorch", run)


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--dry-run", action="store_true")
    p.add_argument("--runtime")
    p.add_argument("--seconds", type=float, default=5.0)
    args = p.parse_args()
    if args.runtime:
        sys.path.insert(0, args.runtime)
    torch = ort = np = None
    try:
        import torch
    except ImportError:
        pass
    try:
        import numpy as np
        import onnxruntime as ort
    except ImportError:
        pass
    has_cuda = ort is not None and "CUDAExecutionProvider" in ort.get_available_providers()
    if ort is not None and (args.dry_run or has_cuda):
        print(f"     ONNX Runtime {ort.__version__}: {', '.join(ort.get_available_providers())}")
        on_runtime(ort, np, args)
    if torch is not None and not has_cuda:
        print(f"     PyTorch {torch.__version__}")
        on_torch(torch, ort, args)
    if COUNT == [0, 0]:
        claim("networks", lambda: (_ for _ in ()).throw(RuntimeError("neither ONNX Runtime with CUDA nor PyTorch is there")))
    print(f"{COUNT[0]} passed, {COUNT[1]} failed")
    return 1 if COUNT[1] else 0


if __name__ == "__main__":
    sys.exit(main())
