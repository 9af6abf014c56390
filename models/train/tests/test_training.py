"""Training learns, resumes, refuses what it cannot use; exports equal the network."""
import os
import shutil
import sys

import numpy as np
import onnxruntime as ort
import pytest
import torch

from conftest import PACK
import export as ex
import small
import train as tr


def trainer(work, small_folder, cfg, run, steps, stage="denoiser", *more):
    a = tr.arguments(["--stage", stage, "--work", work, "--run", str(run), "--small", small_folder, "--batch", "4", "--max-steps", str(steps), "--minutes", "30", "--threads", "1", *more])
    return tr.Trainer(a, cfg)


def loss_on(t, batch, n=4):
    torch.manual_seed(9)
    with torch.no_grad():
        b = t.put(batch)
        return float(np.mean([float(t.supervised(t.f(*i), b, i[4])[1]) for i in (t.pick(b) for _ in range(n))]))


def test_twenty_steps_lower_the_loss_and_resume_goes_on(work, small_folder, cfg, tmp_path):
    t = trainer(work, small_folder, cfg, tmp_path / "r", 20, "denoiser", "--lr", "1e-3")
    batch = t.batches.draw(8)
    batch["p"] = batch["p"] * 0.6 + 0.3                             # composites that are too pale: something to learn in 20 steps
    t.batches.draw = lambda n, **_: {k: v.clone() for k, v in batch.items()}
    before = loss_on(t, batch)
    t.run()
    after = loss_on(t, batch)
    assert after < 0.95 * before, (before, after)               # the bounded residual can mend only so much of that
    again = trainer(work, small_folder, cfg, tmp_path / "r", 3, "denoiser", "--resume")
    assert again.steps["denoiser"] == 20
    for a, b in zip(again.nets.parameters(), t.nets.parameters()):
        assert torch.equal(a, b)
    again.run()
    assert again.steps["denoiser"] == 23


def test_edit_and_id2face_run_and_touch_only_their_parts(work, small_folder, cfg, tmp_path):
    t = trainer(work, small_folder, cfg, tmp_path / "r", 2, "edit")
    vae = [p.clone() for p in t.nets["vae"].parameters()]
    den = [p.clone() for p in t.nets["denoiser"].parameters()]
    t.run()
    assert all(torch.equal(a, b) for a, b in zip(vae, t.nets["vae"].parameters()))
    assert not all(torch.equal(a, b) for a, b in zip(den, t.nets["denoiser"].parameters()))
    t2 = trainer(work, small_folder, cfg, tmp_path / "r", 5, "id2face", "--resume")
    den = [p.clone() for p in t2.nets["denoiser"].parameters()]
    t2.run()
    assert all(torch.equal(a, b) for a, b in zip(den, t2.nets["denoiser"].parameters()))
    with torch.no_grad():
        said = t2.nets["non"](tr.to_depth(t2.put(t2.batches.draw(8))["x"]))
    assert float(said.std(0).mean()) > 0.005                        # the other half of a face is not a constant
    e = torch.from_numpy(t2.batches.z["e"])
    z, _ = t2.nets["vae"].encode(e)
    assert float((t2.nets["vae"].decode(z) * e).sum(1).mean()) > 0.5


def test_a_checkpoint_of_another_network_is_refused(work, small_folder, cfg, tmp_path):
    trainer(work, small_folder, cfg, tmp_path / "r", 1).write()
    with pytest.raises(SystemExit, match="expected a network of channels"):
        trainer(work, small_folder, cfg, tmp_path / "r", 1, "denoiser", "--resume", "--width", "2")


def test_a_damaged_checkpoint_is_named(work, small_folder, cfg, tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "state.pt").write_bytes(b"no state")
    with pytest.raises(SystemExit, match="cannot be read"):
        trainer(work, small_folder, cfg, tmp_path / "r", 1, "denoiser", "--resume")


def test_a_state_in_parts_and_one_that_travels_are_resumed(work, small_folder, cfg, tmp_path, monkeypatch):
    monkeypatch.setattr(tr, "PART_BYTES", 1 << 20)
    t = trainer(work, small_folder, cfg, tmp_path / "r", 2, "denoiser", "--parts")
    t.run()
    assert os.path.getsize(t.path) < 60 << 20 and len(tr.parts_of(t.path)) > 3
    os.remove(t.path)
    again = trainer(work, small_folder, cfg, tmp_path / "r", 1, "denoiser", "--resume")
    assert again.steps["denoiser"] == 2 and all(torch.equal(a, b) for a, b in zip(again.nets.parameters(), t.nets.parameters()))
    (tmp_path / "far").mkdir()
    t.travel(str(tmp_path / "far" / "state.pt"))
    assert os.path.getsize(tmp_path / "far" / "state.pt") < 14 << 20
    far = trainer(work, small_folder, cfg, tmp_path / "far", 1, "denoiser", "--resume")
    for a, b in zip(far.nets.parameters(), t.ema.parameters()):
        assert torch.allclose(a, b, rtol=1e-2, atol=1e-3)


def test_state_is_not_overwritten_without_resume_nor_by_a_broken_run(work, small_folder, cfg, tmp_path):
    t = trainer(work, small_folder, cfg, tmp_path / "r", 1)
    t.write()
    good = open(t.path, "rb").read()
    with pytest.raises(SystemExit, match="--resume"):
        trainer(work, small_folder, cfg, tmp_path / "r", 1)
    with torch.no_grad():
        next(iter(t.params)).fill_(float("nan"))
    with pytest.raises(SystemExit, match="last state"):
        t.run()
    assert open(t.path, "rb").read() == good


def test_differentiable_recogniser_and_mesh_equal_their_onnx(small_folder):
    for make in (small.torch_recogniser, small.torch_mesh):
        assert make(small_folder)[1] <= small.TOLERANCE


def test_the_recognisers_gradient_is_that_of_finite_differences(small_folder):
    look, _ = small.torch_recogniser(small_folder)
    torch.manual_seed(0)
    x = torch.rand(1, 3, 128, 128) - 0.5
    to = torch.nn.functional.normalize(torch.randn(1, 192), dim=1)
    x.requires_grad_(True)
    (look(x) * to).sum().backward()
    way = x.grad / x.grad.norm()
    with torch.no_grad():
        slope = float(((look(x + 0.05 * way) - look(x - 0.05 * way)) * to).sum()) / 0.1
    assert float(x.grad.norm()) > 1e-3 and abs(float(x.grad.norm()) - slope) < 0.05 * slope


def test_exports_equal_pytorch_in_every_precision(work, small_folder, cfg, tmp_path):
    t = trainer(work, small_folder, cfg, tmp_path / "r", 1)
    with torch.no_grad():
        for p in t.ema["denoiser"].parameters():
            p.add_(0.02 * torch.randn_like(p))                      # an untrained network ends in zeros and would equal anything
    t.write()
    pack = tmp_path / "pack"
    shutil.copytree(os.path.join(PACK, "basis"), pack / "basis")
    ex.export(str(tmp_path / "r"), str(pack), work, cfg, ["fp32", "fp16", "int8"])
    args = ex.example(3)
    with torch.no_grad():
        want = t.ema["denoiser"](*args).numpy()
    assert np.abs(want - args[1].numpy()).max() > 0.05
    for name, p in (("denoiser.onnx", "fp32"), ("denoiser.fp16.onnx", "fp16")):
        got = ort.InferenceSession(str(pack / name)).run(None, dict(zip(ex.NAMES, (a.numpy() for a in args))))[0]
        assert got.shape == (3, 48, 32, 32) and np.abs(got - want).max() <= ex.TOLERANCE[p]
    for name in ("denoiser.onnx", "denoiser.fp16.onnx", "denoiser.int8.onnx"):
        assert ex.tensors(str(pack / name))[1] == [dict(name="x0", shape=["n", 48, 32, 32], dtype="float32")]      # the engine takes no other
    assert (pack / "denoiser.int8.onnx").stat().st_size < (pack / "denoiser.onnx").stat().st_size * 0.6
