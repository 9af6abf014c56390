"""The small networks that training leans on: face mesh, recogniser, as ONNX sessions and as differentiable PyTorch modules.

Why both: data is prepared with exactly what the engine will run; losses need gradients. `torch_*` checks itself against
the ONNX file on a random and a real-range input and refuses to be used when they differ by more than TOLERANCE.
Inputs: mesh RGB 0..1, 192x192, NHWC; recogniser RGB (v - 127.5) / 128, 112x112, NHWC.
"""
import os
import sys

import cv2
import numpy as np
import onnx
import onnxruntime as ort

TOLERANCE = 1e-3
NAMES = {"mesh": ("face_mesh.onnx", "face_landmark.onnx"), "recogniser": ("mobilefacenet.onnx", "MobileFaceNet.onnx"),
         "detector": ("centerface.onnx",), "iris": ("iris.onnx", "iris_landmark.onnx")}


def find(folder, what):
    for n in NAMES[what]:
        path = os.path.join(folder, n)
        if os.path.exists(path):
            return path
    sys.exit(f"small model '{what}': expected one of {NAMES[what]} in {folder}, got none; run the script that makes models/small, or give --small FOLDER")


def free_batch(path):
    """The model with a free batch dimension (mesh and recogniser are shipped with a fixed one)."""
    m = onnx.load(path)
    for v in list(m.graph.input) + list(m.graph.output):
        v.type.tensor_type.shape.dim[0].ClearField("dim_value")
        v.type.tensor_type.shape.dim[0].dim_param = "n"
    del m.graph.value_info[:]
    reshaped = {n.input[1] for n in m.graph.node if n.op_type == "Reshape"}
    for t in m.graph.initializer:
        if t.name in reshaped:
            a = onnx.numpy_helper.to_array(t).copy()
            if a.size and a.flat[0] in (1, 2) and -1 not in a:
                a.flat[0] = -1
                t.CopyFrom(onnx.numpy_helper.from_array(a, t.name))
            elif a.size and a.flat[0] == -1 and a.size > 1 and a.flat[1] == -1:
                sys.exit(f"free_batch: {path}: reshape {t.name} has two free dimensions")
    for n in m.graph.node:
        if n.op_type == "Constant" and n.output[0] in reshaped:
            a = onnx.numpy_helper.to_array(n.attribute[0].t).copy()
            if a.flat[0] in (1, 2) and -1 not in a:
                a.flat[0] = -1
                n.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(a))
    return m


def session(model, threads=1):
    o = ort.SessionOptions()
    o.intra_op_num_threads, o.inter_op_num_threads, o.log_severity_level = threads, 1, 3
    return ort.InferenceSession(model if isinstance(model, str) else model.SerializeToString(), o, providers=["CPUExecutionProvider"])


class Mesh:
    """468 x 3 points of a 192x192 RGB uint8 picture, in its pixels, and the face flag (logit)."""

    def __init__(self, folder, threads=1):
        self.s = session(find(folder, "mesh"), threads)
        self.i = self.s.get_inputs()[0].name

    def __call__(self, rgb192):
        out = self.s.run(None, {self.i: (rgb192.astype(np.float32) / 255)[None]})
        big = max(out, key=lambda a: a.size)
        flag = min(out, key=lambda a: a.size)
        return big.reshape(468, 3).copy(), float(flag.reshape(-1)[0])

    def on_crop(self, rgb):
        """Points in the pixels of a square crop of any side."""
        n = rgb.shape[0]
        p, f = self(cv2.resize(rgb, (192, 192), interpolation=cv2.INTER_LINEAR))
        k = n / 192.0
        p[:, :2] = (p[:, :2] + 0.5) * k - 0.5
        p[:, 2] *= k
        return p, f


EYES = ((33, 133, False), (263, 362, True))        # outer and inner corner; whether the network wants it mirrored


class Iris:
    """Where the irises stand between the eyes' corners: 2 x 2 numbers (eye; along, across), in eye widths."""

    def __init__(self, folder, threads=1):
        self.s = session(find(folder, "iris"), threads)
        self.i = self.s.get_inputs()[0].name
        self.out = next(o.name for o in self.s.get_outputs() if "iris" in o.name)

    def __call__(self, rgb, mesh):
        offsets = []
        for outer, inner, mirrored in EYES:
            a, b = mesh[outer, :2].astype(np.float64), mesh[inner, :2].astype(np.float64)
            mid, width = (a + b) / 2, np.linalg.norm(a - b) + 1e-6
            k = 64 / (2.3 * width)
            t = np.array([[k, 0, 32 - k * mid[0]], [0, k, 32 - k * mid[1]]])
            eye = cv2.warpAffine(rgb.astype(np.float32), t, (64, 64), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            x = (eye[:, ::-1] if mirrored else eye) / 255
            c = self.s.run([self.out], {self.i: np.ascontiguousarray(x[None], np.float32)})[0].reshape(-1, 3)[0, :2]
            c = np.array([64 - c[0] if mirrored else c[0], c[1]]) - 32
            axis = (b - a) / width
            offsets.append([c @ axis / (k * width), (c[1] * axis[0] - c[0] * axis[1]) / (k * width)])
        return np.array(offsets)


class Recogniser:
    """Unit 192-vectors of 112x112 RGB crops (any float or uint8 batch n x 112 x 112 x 3, 0..255)."""

    def __init__(self, folder, threads=1):
        self.s = session(free_batch(find(folder, "recogniser")), threads)
        self.i = self.s.get_inputs()[0].name

    def __call__(self, rgb112):
        e = self.s.run(None, {self.i: (np.asarray(rgb112, np.float32) - 127.5) / 128})[0]
        return e / np.linalg.norm(e, axis=1, keepdims=True)


def to112(rgb128):
    """The recogniser's crop out of the 128 px crop: same template, scaled."""
    return cv2.resize(rgb128, (112, 112), interpolation=cv2.INTER_LINEAR)


def _native(net):
    """The converter's PReLU copies under a mask, and torch's own also forms the slope's gradient, which nobody wants here: either
    takes more time backwards than all convolutions."""
    import torch

    class Leak(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, slope):
            ctx.save_for_backward(x, slope)
            if slope.numel() == x.shape[1]:
                return torch.nn.functional.prelu(x, slope.reshape(-1))
            return torch.relu(x) - slope * torch.relu(-x)

        @staticmethod
        def backward(ctx, grad):
            x, slope = ctx.saved_tensors
            open_ = torch.ops.aten.threshold_backward(grad, x, 0)
            return open_ + slope * (grad - open_), None

    class PReLU(torch.nn.Module):
        def forward(self, x, slope):
            return Leak.apply(x, slope.to(x.dtype))
    for name, m in list(net.named_children()):
        if type(m).__name__ == "OnnxPReLU":
            setattr(net, name, PReLU())
    return net


def _torch(path, shape, low, high):
    import torch
    from onnx2torch import convert
    m = free_batch(path)
    net = _native(convert(m)).eval()
    for p in net.parameters():
        p.requires_grad_(False)
    x = np.random.default_rng(0).uniform(low, high, shape).astype(np.float32)
    s = session(m)
    want = s.run(None, {s.get_inputs()[0].name: x})
    with torch.no_grad():
        got = net(torch.from_numpy(x))
    got = got if isinstance(got, (tuple, list)) else [got]
    worst = max(float(np.abs(g.numpy() - w).max() / max(1.0, np.abs(w).max())) for g, w in zip(got, want))
    if not worst <= TOLERANCE:
        sys.exit(f"convert {os.path.basename(path)} to PyTorch: largest relative difference expected <= {TOLERANCE}, got {worst:.2e}")
    return net, worst


def torch_recogniser(folder):
    """x: n x 3 x 128 x 128 in -1..1, RGB -> unit n x 192."""
    import torch.nn.functional as F
    net, worst = _torch(find(folder, "recogniser"), (2, 112, 112, 3), -1, 1)

    def run(x):
        z = F.interpolate(x, size=(112, 112), mode="bilinear", align_corners=False) * (127.5 / 128)
        return F.normalize(net(z.permute(0, 2, 3, 1)), dim=1)
    return run, worst


def torch_mesh(folder):
    """x: n x 3 x 144 x 144 in -1..1, RGB (a 128 px crop in its ring) -> n x 468 x 2 in pixels of that picture."""
    import torch.nn.functional as F
    net, worst = _torch(find(folder, "mesh"), (2, 192, 192, 3), 0, 1)

    def run(x):
        z = F.interpolate(x, size=(192, 192), mode="bilinear", align_corners=False) * 0.5 + 0.5
        out = net(z.permute(0, 2, 3, 1))
        p = max(out, key=lambda t: t.numel()).reshape(len(x), 468, 3)[..., :2]
        return (p + 0.5) * 0.75 - 0.5
    return run, worst
