"""The export on tiny checkpoints: what is written is what diffusers runs. Run: pytest models/export/tests"""
import os
import sys
import tomllib

import numpy as np
import onnxruntime
import pytest
import torch

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import reference  # noqa: E402
import tiny  # noqa: E402
import build  # noqa: E402

WORDS = {"": "", "sex=female": "a woman", "age=70": "old", "age=70,sex=female": "old a"}
# Relative to the largest value: float32 file against float64 U-Net; half precision file against the same.
FUSED = {"fp32": 2e-4, "fp16": 2e-2}


def run(path, **feeds):
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {k: np.asarray(v, np.float32) for k, v in feeds.items()})[0]


@pytest.fixture(scope="module", params=[("sd15", "fp32"), ("sd15", "fp16"), ("sdxl", "fp32"), ("sdxl", "fp16")], ids="-".join)
def made(request, tmp_path_factory):
    kind, precision = request.param
    folder = tmp_path_factory.mktemp(kind)
    parts = tiny.checkpoints(kind, str(folder))
    out = str(folder / "pack")
    build.build(kind, out, **parts, precision=precision, beside=kind == "sdxl", words=WORDS)
    with open(os.path.join(out, "pack.toml"), "rb") as f:
        return kind, precision, out, reference.unfused(kind, **parts), tomllib.load(f)


def test_the_denoiser_is_the_unfused_pipelines_unet_also_with_a_null_identity(made):
    kind, precision, out, pipe, manifest = made
    model = reference.Model(pipe, manifest["crop"]["size_px"])
    x = reference.wave((3, 4, tiny.SIDE, tiny.SIDE), 1)
    identity = torch.nn.functional.normalize(reference.wave((1, tiny.IDENTITY), 2), dim=1)[0]
    words = {"": manifest["denoiser"]["empty_text"], **manifest["attributes"]["vocabulary"]}
    seen = []
    for word, prompt in WORDS.items():
        text = np.fromfile(os.path.join(out, manifest["files"][words[word]]["path"]), "<f4")
        assert len(text) == manifest["denoiser"]["text_len"]
        for who in (identity, torch.zeros_like(identity)):
            want = model(x, torch.tensor(299), who, prompt).numpy()
            got = run(os.path.join(out, "denoiser.onnx"), x=x, time=np.full(3, 299.0), identity=np.tile(who, (3, 1)), text=np.tile(text, (3, 1)))
            assert np.abs(got - want).max() <= FUSED[precision] * np.abs(want).max(), (word, kind, precision)
            seen.append(want)
    for i, a in enumerate(seen):
        for b in seen[:i]:
            assert np.abs(a - b).max() > 0.01 * np.abs(a).max(), "every text and identity must show in the output"


def test_the_autoencoder_is_the_pipelines_in_posterior_mode(made):
    _, precision, out, pipe, manifest = made
    s = manifest["crop"]["size_px"]
    pixels = 0.5 * reference.wave((2, 3, s, s), 3)
    latent = manifest["latent"]
    want = reference.encode(pipe, pixels).numpy()
    got = (run(os.path.join(out, "encoder.onnx"), pixels=pixels) - latent["shift"]) * latent["scale"]
    assert np.abs(got - want).max() <= FUSED[precision] * np.abs(want).max()
    back = run(os.path.join(out, "decoder.onnx"), latents=want / latent["scale"] + latent["shift"])
    want = reference.decode(pipe, torch.from_numpy(want)).numpy()
    assert np.abs(back - want).max() <= FUSED[precision] * np.abs(want).max()


def test_every_file_is_in_the_manifest_with_its_hash(made):
    _, _, out, _, manifest = made
    import hashlib
    listed = {f["path"]: f for f in manifest["files"].values()}
    there = {os.path.relpath(os.path.join(d, f), out) for d, _, fs in os.walk(out) for f in fs} - {"pack.toml"}
    assert set(listed) == there
    for path, entry in listed.items():
        raw = open(os.path.join(out, path), "rb").read()
        assert (hashlib.sha256(raw).hexdigest(), len(raw)) == (entry["sha256"], entry["bytes"]), path


def test_a_recogniser_of_another_dimension_is_refused(tmp_path):
    parts = tiny.checkpoints("sd15", str(tmp_path))
    with pytest.raises(SystemExit, match="expected one input"):
        build.recogniser(parts["arcface"], str(tmp_path), tiny.IDENTITY + 1)


def test_a_missing_file_names_itself(tmp_path):
    with pytest.raises(SystemExit, match="base checkpoint: expected a file or folder at"):
        build.build("sd15", str(tmp_path / "out"), str(tmp_path / "none"), "a", "b")
