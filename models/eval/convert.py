"""Makes the networks used only for measuring (never for steering) out of TF.js weights: fetch, build ONNX, verify, write.

  python convert.py --cache DIR [--faces DIR] [--report FILE] [--check]

Why the graphs are written by hand: face-api keeps no graph, only weights; and stored weights keep their small form
(uint8 with scale and offset, or float16), widened by nodes that a runtime folds when it loads the file. TF.js offsets are
real numbers, so DequantizeLinear (integer zero point) would change values: Cast, Mul, Add give them exactly.
Verified against the packages' own code under TF.js in node (original.mjs), pure JavaScript backend.
Limits: the requirements of ../small/requirements.txt; `node` and `npm` on the path.
"""
import argparse
import json
import pathlib
import subprocess
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "small"))
import onnx_tools as t

OPSET = 13
HUMAN, FACE_API, TFJS = "3.3.6", "1.7.15", "4.22.0"
H, F = ("npm", "@vladmandic/human", HUMAN), ("npm", "@vladmandic/face-api", FACE_API)
SOURCES = {  # file -> (package, weights, their hash, description of the weights, its hash)
    "faceres.onnx": (H, "models/faceres.bin", "2c7d2d62b76c97528b736527aa09d310ea71743c9e3e79fb6c62d4b2d73af79b",
                     "models/faceres.json", "5b83d49c0385d2e68a05122441b94226313677cae9fcc40b9587ad50079eb4df"),
    "emotion.onnx": (H, "models/emotion.bin", "927ac8224f356ab1e68c2bcfbfa07b0c8567047d1bcf817388ba6e38214c4987",
                     "models/emotion.json", "56f7e557eb0c863a8b9ab04ac7ccba756e93bf2c27dce135ef0e8712b80b7ad2"),
    "faceapi_recognition.onnx": (F, "model/face_recognition_model.bin", "b413e420d6840b2775fba32008db6f3cddb07d485967fb42cfcf379c16a8c589",
                                 "model/face_recognition_model-weights_manifest.json", "cbaffa501b0b9275a12b63357a6843e7e30c054e1c9151e1a5f879b26e32986b"),
    "faceapi_expression.onnx": (F, "model/face_expression_model.bin", "9a9840f2cf1f4c7eab95f197512569345c00d2426754d4608b92af30e0300f3d",
                                "model/face_expression_model-weights_manifest.json", "5b349c17c7836da506e03422cd6461c74085d8bb2713ad4114647dc5d28174c8"),
    "faceapi_age_sex.onnx": (F, "model/age_gender_model.bin", "49f92bbc0afef2342c4385e4a2b0acb6d7a727c6f0aa539499719a81acf9abaa",
                             "model/age_gender_model-weights_manifest.json", "74b60bf3ebf981bf4e661e9cca3a185614e10b25d797118b62e2a68d3ff2569f"),
    "faceapi_detector.onnx": (F, "model/ssd_mobilenetv1_model.bin", "2835640602d53718aa6ae9a42896327eaa21beefed056c218d32ca7d79e1e2f8",
                              "model/ssd_mobilenetv1_model-weights_manifest.json", "888f744dffbc84f5f060d1f8427d9742341943a2dfaaf9205d10029b7e7a2955"),
}
INPUT = {"faceres.onnx": (224, 3), "emotion.onnx": (64, 1), "faceapi_recognition.onnx": (150, 3), "faceapi_expression.onnx": (112, 3), "faceapi_age_sex.onnx": (112, 3), "faceapi_detector.onnx": (512, 3)}
# Same weights to the bit, other summation order: measured differences (README) are at least 4 times smaller.
TOLERANCE = {"faceres.onnx": 2e-5, "emotion.onnx": 1e-5, "faceapi_recognition.onnx": 2e-5, "faceapi_expression.onnx": 2e-5, "faceapi_age_sex.onnx": 2e-4, "faceapi_detector.onnx": 1e-3}
FACE_API_MEAN_RGB, FACE_API_STD = np.array([122.782, 117.001, 104.298], np.float32), np.float32(255)
SSD_ANCHORS, SSD_EPSILON = 5118, np.float32(0.0010000000474974513)
SMALL = 1024  # tensors up to this many elements are stored widened: the extra nodes would cost more than they save


class Net:
    """NCHW graph under construction; holds the spatial size so that TF's 'same' padding becomes explicit."""

    def __init__(self, weights: bytes, specs: list, size: int, channels: int, layout_name: str):
        self.nodes, self.inits, self.size, self.raw = [], [], {}, {}
        at = 0
        for s in specs:
            q = s.get("quantization", {})
            dtype = np.dtype(q.get("dtype", s["dtype"])).newbyteorder("<")
            n = int(np.prod(s["shape"]))
            self.raw[s["name"]] = (np.frombuffer(weights, dtype, n, at).reshape(s["shape"]), q)
            at += n * dtype.itemsize
        if at != len(weights):
            raise SystemExit(f"weights: expected {at} bytes, got {len(weights)}")
        self.input = layout_name
        self.shape = [size, size, channels]
        self.x = self.op("Transpose", [layout_name], perm=[0, 3, 1, 2])
        self.size[self.x] = size

    def const(self, a) -> str:
        name = f"c{len(self.inits)}"
        self.inits.append(numpy_helper.from_array(np.ascontiguousarray(a), name))
        return name

    def op(self, kind: str, inputs: list, **attributes) -> str:
        out = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [out], **attributes))
        if inputs[0] in self.size:
            self.size[out] = self.size[inputs[0]]
        return out

    def weight(self, name: str, perm=None, shape=None) -> str:
        """Stored weight as float32 tensor, its stored form kept when it is large."""
        a, q = self.raw[name]
        a = a if perm is None else a.transpose(perm)
        a = a if shape is None else a.reshape(shape)
        if a.dtype == np.uint8:
            scale, low = np.float32(q["scale"]), np.float32(q["min"])
            if a.size <= SMALL:
                return self.const(a.astype(np.float32) * scale + low)
            w = self.op("Cast", [self.const(a)], to=TensorProto.FLOAT)
            return self.op("Add", [self.op("Mul", [w, self.const(scale)]), self.const(low)])
        if a.dtype == np.float16:
            if a.size <= SMALL:
                return self.const(a.astype(np.float32))
            return self.op("Cast", [self.const(a)], to=TensorProto.FLOAT)
        return self.const(a.astype(np.float32))

    def window(self, x: str, kernel: int, stride: int, padding: str):
        """TF padding as ONNX pads [top left bottom right], and the size after it."""
        n = self.size[x]
        if padding == "valid":
            return [0, 0, 0, 0], (n - kernel) // stride + 1
        out = -(-n // stride)
        total = max((out - 1) * stride + kernel - n, 0)
        return [total // 2, total // 2, total - total // 2, total - total // 2], out

    def conv(self, x: str, kernel: str, stride: int, padding="same", bias=None, depthwise=False) -> str:
        k = self.raw[kernel][0].shape  # HWIO; depthwise HWC1
        w = self.weight(kernel, (2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
        pads, out = self.window(x, k[0], stride, padding)
        inputs = [x, w] + ([self.weight(bias)] if bias else [])
        y = self.op("Conv", inputs, kernel_shape=list(k[:2]), strides=[stride] * 2, pads=pads, group=k[2] if depthwise else 1)
        self.size[y] = out
        return y

    def pool(self, kind: str, x: str, kernel: int, stride: int, padding="valid") -> str:
        pads, out = self.window(x, kernel, stride, padding)
        y = self.op(kind, [x], kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=pads)
        self.size[y] = out
        return y

    def dense(self, x: str, kernel: str, bias=None) -> str:
        y = self.op("MatMul", [x, self.weight(kernel)])
        return self.op("Add", [y, self.weight(bias)]) if bias else y

    def mean(self, x: str) -> str:
        return self.op("ReduceMean", [x], axes=[2, 3], keepdims=0)

    def build(self, outputs: dict) -> bytes:
        """outputs: public name -> (tensor, width or sizes after the batch)"""
        for public, (tensor, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [tensor], [public]))
        vi = lambda n, d: helper.make_tensor_value_info(n, TensorProto.FLOAT, d)
        g = helper.make_graph(self.nodes, "g", [vi(self.input, ["batch"] + self.shape)],
                              [vi(n, ["batch", *(w if isinstance(w, list) else [w])]) for n, (_, w) in outputs.items()], self.inits)
        return t.canonical(helper.make_model(g, opset_imports=[helper.make_opsetid("", OPSET)]))


def face_api_recognition(n: Net) -> dict:
    """dlib's 29-layer residual network as face-api stores it: conv, per-channel scale, relu."""
    def unit(x, name, stride, padding, relu):
        y = n.conv(x, f"{name}/conv/filters", stride, padding, f"{name}/conv/bias")
        y = n.op("Mul", [y, n.weight(f"{name}/scale/weights", shape=(-1, 1, 1))])
        y = n.op("Add", [y, n.weight(f"{name}/scale/biases", shape=(-1, 1, 1))])
        return n.op("Relu", [y]) if relu else y

    def block(x, name):
        down = name.split("_", 1)[1].startswith("down")
        y = unit(x, f"{name}/conv1", 2 if down else 1, "valid" if down else "same", True)
        y = unit(y, f"{name}/conv2", 1, "same", False)
        if down:
            wide, narrow = n.raw[f"{name}/conv2/conv/filters"][0].shape[3], n.raw[f"{name}/conv1/conv/filters"][0].shape[2]
            x = n.pool("AveragePool", x, 2, 2)
            if n.size[x] != n.size[y]:  # valid convolution lost a row and a column: zeros at the bottom and right
                size = n.size[x]
                y = n.op("Pad", [y, n.const(np.array([0, 0, 0, 0, 0, 0, 1, 1], np.int64))])
                n.size[y] = size
            if wide != narrow:
                x = n.op("Pad", [x, n.const(np.array([0, 0, 0, 0, 0, wide - narrow, 0, 0], np.int64))])
        return n.op("Relu", [n.op("Add", [x, y])])

    x = unit(n.x, "conv32_down", 2, "valid", True)
    x = n.pool("MaxPool", x, 3, 2)
    for name in ("conv32_1", "conv32_2", "conv32_3", "conv64_down", "conv64_1", "conv64_2", "conv64_3", "conv128_down", "conv128_1",
                 "conv128_2", "conv256_down", "conv256_1", "conv256_2", "conv256_down_out"):
        x = block(x, name)
    return {"embedding": (n.dense(n.mean(x), "fc"), 128)}


def separable(n: Net, x: str, name: str, stride=1) -> str:
    return n.conv(n.conv(x, f"{name}/depthwise_filter", stride, depthwise=True), f"{name}/pointwise_filter", 1, bias=f"{name}/bias")


def face_api_expression(n: Net) -> dict:
    """Four densely summed blocks of separable convolutions, then a linear layer."""
    x = n.x
    for b in range(4):
        name = f"dense{b}"
        first = n.conv(x, f"{name}/conv0/filters", 2, bias=f"{name}/conv0/bias") if b == 0 else separable(n, x, f"{name}/conv0", 2)
        total = n.op("Relu", [first])
        parts = [total]
        for k in (1, 2, 3):
            y = separable(n, total, f"{name}/conv{k}")
            parts.append(y)
            s = parts[-1]
            for p in reversed(parts[:-1]):
                s = n.op("Add", [p, s])
            total = n.op("Relu", [s])
            n.size[total] = n.size[y]
        x = total
    x = n.op("Flatten", [n.pool("AveragePool", x, 7, 2)])
    return {"expression": (n.op("Softmax", [n.dense(x, "fc/weights", "fc/bias")], axis=1), 7)}


def face_api_age_sex(n: Net) -> dict:
    """A small Xception with two middle blocks; one linear layer for age, one for sex."""
    relu = lambda x: n.op("Relu", [x])

    def reduction(x, name, activate=True):
        y = separable(n, relu(x) if activate else x, f"{name}/separable_conv0")
        y = n.pool("MaxPool", separable(n, relu(y), f"{name}/separable_conv1"), 3, 2, "same")
        return n.op("Add", [y, n.conv(x, f"{name}/expansion_conv/filters", 2, bias=f"{name}/expansion_conv/bias")])

    x = relu(n.conv(n.x, "entry_flow/conv_in/filters", 2, bias="entry_flow/conv_in/bias"))
    x = reduction(x, "entry_flow/reduction_block_0", False)
    x = reduction(x, "entry_flow/reduction_block_1")
    for b in range(2):
        y = x
        for k in range(3):
            y = separable(n, relu(y), f"middle_flow/main_block_{b}/separable_conv{k}")
        x = n.op("Add", [y, x])
    x = reduction(x, "exit_flow/reduction_block")
    x = relu(separable(n, x, "exit_flow/separable_conv"))
    x = n.op("Flatten", [n.pool("AveragePool", x, 7, 2)])
    return {"age": (n.dense(x, "fc/age/weights", "fc/age/bias"), 1), "sex": (n.op("Softmax", [n.dense(x, "fc/gender/weights", "fc/gender/bias")], axis=1), 2)}


def face_api_detector(n: Net) -> dict:
    """SSD on MobileNet v1: boxes (top, left, bottom, right, shares of the square input) and scores of all anchors,
    before non-maximum suppression."""
    clip = lambda x: n.op("Clip", [x, n.const(np.float32(0)), n.const(np.float32(6))])
    add = lambda x, name: n.op("Add", [x, n.weight(name, shape=(-1, 1, 1))])

    def pointwise(x, name, stride):
        return clip(add(n.conv(x, f"{name}/weights", stride), f"{name}/convolution_bn_offset"))

    def depthwise(x, name, stride):
        p = [n.weight(f"{name}/BatchNorm/{k}") for k in ("gamma", "beta", "moving_mean", "moving_variance")]
        y = n.conv(x, f"{name}/depthwise_weights", stride, depthwise=True)
        return clip(n.op("BatchNormalization", [y, *p], epsilon=float(SSD_EPSILON)))

    def predicted(x, name, width):  # rows of the grid, columns, anchors of a cell: TF's order
        y = n.conv(x, f"{name}/weights", 1, bias=f"{name}/biases")
        return n.op("Reshape", [n.op("Transpose", [y], perm=[0, 2, 3, 1]), n.const(np.array([0, -1, width], np.int64))])

    def part(x, begin, end):
        return n.op("Slice", [x, *(n.const(np.array([v], np.int64)) for v in (begin, end, 2))])

    x = pointwise(n.x, "MobilenetV1/Conv2d_0_pointwise", 2)
    for k in range(1, 14):
        x = pointwise(depthwise(x, f"MobilenetV1/Conv2d_{k}_depthwise", 2 if k in (2, 4, 6, 12) else 1), f"MobilenetV1/Conv2d_{k}_pointwise", 1)
        if k == 11:
            grids = [x]
    grids.append(x)
    for k in range(8):
        x = pointwise(x, f"Prediction/Conv2d_{k}_pointwise", 1 + k % 2)
        if k % 2:
            grids.append(x)
    code, score = (n.op("Concat", [predicted(g, f"Prediction/BoxPredictor_{k}/{what}", width) for k, g in enumerate(grids)], axis=1)
                   for what, width in (("BoxEncodingPredictor", 4), ("ClassPredictor", 3)))
    anchors = n.raw["Output/extra_dim"][0].astype(np.float32)
    size = anchors[..., 2:] - anchors[..., :2]
    middle = n.op("Add", [n.op("Mul", [n.op("Div", [part(code, 0, 2), n.const(np.float32(10))]), n.const(size)]), n.const(anchors[..., :2] + size / 2)])
    half = n.op("Div", [n.op("Mul", [n.op("Exp", [n.op("Div", [part(code, 2, 4), n.const(np.float32(5))])]), n.const(size)]), n.const(np.float32(2))])
    boxes = n.op("Concat", [n.op("Sub", [middle, half]), n.op("Add", [middle, half])], axis=2)
    scores = n.op("Squeeze", [n.op("Sigmoid", [part(score, 1, 2)]), n.const(np.array([2], np.int64))])
    return {"boxes": (boxes, [SSD_ANCHORS, 4]), "scores": (scores, SSD_ANCHORS)}


def graph_model(n: Net, topology: dict, outputs: dict) -> dict:
    """TF.js graph model (only the operators that faceres and emotion use); outputs: public name -> (TF name, width)."""
    from base64 import b64decode
    have = {}
    for node in topology["node"]:
        kind, name, inp, at = node["op"], node["name"], node.get("input", []), node.get("attr", {})
        fused = [b64decode(s).decode() for s in at.get("fused_ops", {}).get("list", {}).get("s", [])]
        w = inp[1] if len(inp) > 1 and inp[1] in n.raw else None
        if kind == "Const":
            continue
        if kind == "Placeholder":
            y = n.x
        elif kind in ("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative"):
            stride, padding = int(at["strides"]["list"]["i"][1]), b64decode(at["padding"]["s"]).decode().lower()
            if [int(d) for d in at["dilations"]["list"]["i"]] != [1] * 4 or set(fused) - {"BiasAdd", "Relu"}:
                raise SystemExit(f"{name}: expected no dilation and BiasAdd, Relu, got {at}")
            y = n.conv(have[inp[0]], w, stride, padding, inp[2] if "BiasAdd" in fused else None, kind[0] == "D")
            y = n.op("Relu", [y]) if "Relu" in fused else y
        elif kind == "_FusedMatMul":
            y = n.dense(have[inp[0]], w, inp[2])
            y = n.op("Relu", [y]) if "Relu" in fused else y
        elif kind in ("Add", "AddV2", "Mul", "Minimum", "Maximum"):
            other = have[inp[1]] if w is None else n.weight(w, shape=() if n.raw[w][0].size == 1 else (-1, 1, 1))
            y = n.op({"AddV2": "Add", "Minimum": "Min", "Maximum": "Max"}.get(kind, kind), [have[inp[0]], other])
        elif kind == "MaxPool":
            y = n.pool("MaxPool", have[inp[0]], int(at["ksize"]["list"]["i"][1]), int(at["strides"]["list"]["i"][1]), b64decode(at["padding"]["s"]).decode().lower())
        elif kind == "Mean":
            if sorted(n.raw[w][0].tolist()) != [1, 2] or at["keep_dims"]["b"]:
                raise SystemExit(f"{name}: expected a mean over height and width")
            y = n.mean(have[inp[0]])
        elif kind in ("Relu", "Sigmoid", "Identity"):
            y = n.op(kind, [have[inp[0]]])
        elif kind == "Softmax":
            y = n.op("Softmax", [have[inp[0]]], axis=1)
        else:
            raise SystemExit(f"{name}: operator {kind} is not expected in this graph")
        have[name] = y
    return {public: (have[tf_name], width) for public, (tf_name, width) in outputs.items()}


def convert(file: str, weights: bytes, description: bytes) -> bytes:
    d = json.loads(description)
    groups = d["weightsManifest"] if isinstance(d, dict) else d
    size, channels = INPUT[file]
    n = Net(weights, [w for g in groups for w in g["weights"]], size, channels, "input")
    if file == "faceres.onnx":
        return n.build(graph_model(n, d["modelTopology"], {"embedding": ("global_pooling/Mean", 1024), "age": ("age_pred/Softmax", 100), "sex": ("gender_pred/Sigmoid", 1)}))
    if file == "emotion.onnx":
        return n.build(graph_model(n, d["modelTopology"], {"emotion": ("Identity", 7)}))
    return n.build({"faceapi_recognition.onnx": face_api_recognition, "faceapi_expression.onnx": face_api_expression, "faceapi_age_sex.onnx": face_api_age_sex,
                    "faceapi_detector.onnx": face_api_detector}[file](n))


def inputs(file: str, faces) -> np.ndarray:
    """Pictures as the package's own code takes them (before its normalisation): 2 random and, with faces, 4 real."""
    import cv2
    size, channels = INPUT[file]
    x = np.random.default_rng(11).uniform(0, 255, (2, size, size, 3)).astype(np.float32)
    if faces:
        x = np.concatenate([x, [cv2.resize(im[8:136, 8:136], (size, size)).astype(np.float32) for _, im in t.real_crops(faces, 4)]])
    if channels == 1:
        x = ((x / 255) @ np.array([[.2989], [.587], [.114]], np.float32) - .5) * 2
    return np.ascontiguousarray(x, np.float32)


def verify(file: str, data: bytes, args, report: dict):
    s = t.session(data)
    names = [o.name for o in s.get_outputs()]
    x = inputs(file, args.faces)
    (args.cache / f"{file}.in").write_bytes(x.tobytes())
    subprocess.run(["node", str(args.cache / "original.mjs"), file, *map(str, x.shape), *names], cwd=args.cache, check=True, stdout=subprocess.DEVNULL)
    fed = x / np.float32(127.5) - 1 if file == "faceapi_detector.onnx" else (x - FACE_API_MEAN_RGB) / FACE_API_STD if file.startswith("faceapi") else x
    got = s.run(names, {"input": fed})
    for n, g in zip(names, got):
        want = np.fromfile(args.cache / f"{file}.{n}.out", np.float32)
        one = np.concatenate([s.run([n], {"input": k[None]})[0] for k in fed])
        t.claim(f"{file} {n} n={len(x)}: to TF.js {TFJS} cpu (largest value {np.abs(want).max():.3g})", t.max_abs(g, want), TOLERANCE[file], report)
        t.claim(f"{file} {n} n={len(x)}: batch to single", t.max_abs(g, one), TOLERANCE[file], report)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--cache", type=pathlib.Path, required=True)
    p.add_argument("--faces", type=pathlib.Path)
    p.add_argument("--report", type=pathlib.Path)
    p.add_argument("--check", action="store_true")
    args = p.parse_args()
    args.cache = args.cache.resolve()
    recorded, report = t.recorded_hashes(HERE / "manifest.toml"), {}
    if args.check and set(recorded) != set(SOURCES):
        raise SystemExit(f"manifest.toml: expected entries for {sorted(SOURCES)}, got {sorted(recorded)}")
    args.cache.mkdir(parents=True, exist_ok=True)
    (args.cache / "original.mjs").write_bytes((HERE / "original.mjs").read_bytes())  # node resolves packages beside the script
    if not (args.cache / "node_modules/@tensorflow/tfjs").exists():
        subprocess.run(["npm", "install", "--silent", "--no-save", "--ignore-scripts", f"@tensorflow/tfjs@{TFJS}", f"@vladmandic/face-api@{FACE_API}", f"@vladmandic/human@{HUMAN}"], cwd=args.cache, check=True)
    for file, (package, weights, weights_sha, description, description_sha) in SOURCES.items():
        data = convert(file, t.package_member(args.cache, *package, weights, weights_sha), t.package_member(args.cache, *package, description, description_sha))
        t.write_checked(HERE / file, data, recorded, args.check)
        verify(file, data, args, report)
    t.save_report(args.report, report)


if __name__ == "__main__":
    main()
