"""ONNX files and pack.toml. One network is one file; from 1.8 GB on the weights stand beside it, because a protobuf ends at 2 GB.

Legacy exporter, opset 17: what ONNX Runtime and TensorRT both read. The batch is the only free dimension.
"""
import hashlib
import json
import os
import sys
import tempfile
import warnings

import numpy as np
import onnx
import torch

OPSET = 17
LARGEST_IN_ONE = 1_800_000_000
KINDS = {1: "float32", 10: "float16", 7: "int64"}


def network(net, args, path, inputs, output, beside=False):
    """Exports; returns the names of the files written, the graph first."""
    folder, name = os.path.split(path)
    with tempfile.TemporaryDirectory(dir=folder) as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = os.path.join(work, name)
        with torch.no_grad():
            torch.onnx.export(net, args, raw, input_names=inputs, output_names=[output], opset_version=OPSET, dynamo=False,
                              dynamic_axes={k: {0: "n"} for k in [*inputs, output]}, do_constant_folding=True)
        model = onnx.load(raw)
    model.producer_name, model.producer_version, model.doc_string = "nullface", "1", ""
    shorten(model.graph, {*inputs, output})
    weights = sum(len(t.raw_data) for t in model.graph.initializer)
    data = name + ".data"
    if os.path.exists(os.path.join(folder, data)):
        os.remove(os.path.join(folder, data))
    if beside or weights > LARGEST_IN_ONE:
        onnx.save(model, path, save_as_external_data=True, all_tensors_to_one_file=True, location=data, size_threshold=1024)
        os.chmod(os.path.join(folder, data), 0o644)
        return [name, data]
    onnx.save(model, path)
    return [name]


def shorten(graph, doors):
    """Module paths as tensor names are half of a small file; nothing reads them."""
    names = {}

    def short(name):
        return name if not name or name in doors else names.setdefault(name, f"t{len(names)}")
    for tensor in graph.initializer:
        tensor.name = short(tensor.name)
    for node in graph.node:
        node.name, node.doc_string = "", ""
        del node.metadata_props[:]
        if any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
            raise ValueError(f"expected no subgraph, got one in {node.op_type}")
        for side in (node.input, node.output):
            side[:] = [short(n) for n in side]
    del graph.value_info[:]


def check(path, args, names, want, tolerance, what):
    """The file through ONNX Runtime against PyTorch; largest difference relative to the largest value."""
    import onnxruntime
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    got = session.run(None, {n: a.numpy() for n, a in zip(names, args)})[0]
    off = float(np.abs(got - want.numpy()).max() / max(np.abs(want.numpy()).max(), 1e-6))
    if not off <= tolerance:
        sys.exit(f"export {what}: expected ONNX within {tolerance} of PyTorch, got {off:.3g}")
    return off


def signature(path):
    model = onnx.load(path, load_external_data=False)

    def side(values):
        rows = []
        for v in values:
            shape = ["n" if i == 0 else d.dim_value or d.dim_param for i, d in enumerate(v.type.tensor_type.shape.dim)]
            rows.append(f"  {{ name = {json.dumps(v.name)}, shape = {json.dumps(shape)}, dtype = \"{KINDS[v.type.tensor_type.elem_type]}\" }},\n")
        return "[\n" + "".join(rows) + "]"
    weights = {t.name for t in model.graph.initializer}
    return side([v for v in model.graph.input if v.name not in weights]), side(model.graph.output)


def digest(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 24):
            h.update(block)
    return h.hexdigest()


def entry(folder, key, file, data=None):
    path = os.path.join(folder, file)
    text = [f"[files.{json.dumps(key)}]", f"path = {json.dumps(file)}", f'sha256 = "{digest(path)}"', f"bytes = {os.path.getsize(path)}"]
    if data:
        text.append(f"data = {json.dumps(data)}")
    if file.endswith(".onnx"):
        inputs, outputs = signature(path)
        text += [f"inputs = {inputs}", f"outputs = {outputs}"]
    return "\n".join(text) + "\n"
