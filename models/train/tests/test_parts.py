"""Geometry, modes and data: claims that the engine relies on."""
import io
import os
import tarfile
import tomllib

import cv2
import numpy as np
import pytest
import torch

from conftest import PACK, drawn_face
import data
import geometry as g
import likeness
import modes
import pairs
import model
from model import to_depth, to_space


def test_similarity3_recovers_a_known_pose():
    rng = np.random.default_rng(1)
    a = rng.normal(size=(30, 3))
    q, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    q *= np.sign(np.linalg.det(q))
    s, r, t = g.similarity3(a, 2.5 * a @ q.T + [1, 2, 3])
    assert abs(s - 2.5) < 1e-9 and np.allclose(r, q) and np.allclose(t, [1, 2, 3])


def test_space_to_depth_is_pixel_unshuffle_and_exactly_invertible():
    x = np.random.default_rng(0).integers(0, 256, (128, 128, 3)).astype(np.float32)
    z = modes.unshuffle(x)
    want = to_depth(torch.from_numpy(x).permute(2, 0, 1)[None] / 127.5 - 1).numpy()
    assert np.array_equal(z, want) and np.abs(modes.shuffle(z) - x).max() < 1e-3


def test_the_split_in_cells_is_the_gaussian_of_the_picture():
    x = torch.randn(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    k = torch.exp(-torch.arange(-model.SPLIT_MOST, model.SPLIT_MOST + 1).float() ** 2 / (2 * model.SPLIT_PX ** 2))
    k = (k / k.sum()).repeat(3, 1, 1, 1)
    want = torch.nn.functional.conv2d(torch.nn.functional.conv2d(x, k.reshape(3, 1, 1, -1), groups=3), k.reshape(3, 1, -1, 1), groups=3)
    assert (to_space(model.low(to_depth(x)))[..., 4:-4, 4:-4] - want).abs().max() < 1e-5
    flat = torch.full((1, 48, 32, 32), 0.7)
    assert (model.low(flat) - flat).abs().max() < 1e-5                # the edge too


def test_of_the_fine_band_a_comb_and_colours_are_dropped_and_strong_residuals_turned_down():
    comb = torch.zeros(1, 48, 32, 32)
    comb[:, 5::16], comb[:, 10::16] = 0.02, -0.02
    assert model.bounded(comb).abs().max() < 0.06 * 0.02
    y, x = torch.meshgrid(torch.arange(128.0), torch.arange(128.0), indexing="ij")
    wave = lambda px, *rgb: to_depth(torch.cos(2 * np.pi * (x + 0.6 * y) / px) * torch.tensor(rgb)[None, :, None, None])
    gain = lambda z: float((model.bounded(z) / z.std())[..., 4:-4, 4:-4].std())
    assert 0.7 < gain(wave(2.7, 0.01, 0.01, 0.01)) < 1.35 and gain(wave(2.7, 0.01, 0.0, -0.01)) < 0.1
    assert gain(wave(60, 0.3, 0.3, 0.3)) < 0.35 and gain(wave(60, 0.002, 0.002, 0.002)) > 0.9


def test_what_is_finished_is_the_prior_a_little_sharper_and_its_mean_stays():
    prior = torch.randn(1, 48, 32, 32, generator=torch.Generator().manual_seed(1)) * 0.2
    out = model.finished(prior, torch.zeros_like(prior))
    assert 1.02 < float(out.std() / prior.std()) < 1 + model.SHARPEN and abs(float(out.mean() - prior.mean())) < 1e-3
    flat = torch.full_like(prior, 0.3)
    assert (model.finished(flat, torch.zeros_like(flat)) - flat).abs().max() < 1e-5


def test_a_lean_keeps_length_and_stands_where_it_says():
    """The same as `leant` in src/stages/denoise/identity.rs."""
    assert np.allclose(modes.leant(np.float32([0, 3]), np.float32([2, 0]), 0.6), [-1.8, 2.4])


def test_composite_leaves_the_frame_alone_outside_and_paints_inside(basis, cfg):
    rng = np.random.default_rng(2)
    x, mesh = drawn_face(rng, basis)
    w = np.zeros(len(basis.labels), np.float32)
    w[:2] = 0.5
    tex, shape = g.mix(basis, w)
    c = g.Placement(x.astype(np.float32), mesh, basis, cfg["composite"], moved=basis.moved_mesh(mesh, shape)).paint(tex)
    inside = np.zeros((144, 144), np.uint8)
    cv2.fillPoly(inside, [np.round(mesh[g.OVAL, :2]).astype(np.int32)], 1)
    outside = cv2.dilate(inside, np.ones((5, 5))) == 0
    assert outside.sum() > 5000 and np.array_equal(c["picture"][outside], x.astype(np.float32)[outside])
    assert (c["alpha"] > 0.9).sum() > 1500 and np.abs(c["picture"] - x)[c["alpha"] > 0.9].mean() > 2


def test_the_moved_mesh_keeps_rim_and_openings(basis):
    mesh = (basis.mean_shape * 50).astype(np.float32)
    moved = basis.moved_mesh(mesh, 2 * basis.mode_sd, strength=1.5)
    assert np.abs(moved - mesh).max() > 1.0
    assert np.abs((moved - mesh)[g.OVAL]).max() < 1e-3
    for a, b in ((13, 14), (159, 145), (386, 374)):
        assert abs(np.linalg.norm(moved[a] - moved[b]) - np.linalg.norm(mesh[a] - mesh[b])) < 0.35


def test_a_degenerate_mesh_is_named(basis, cfg):
    with pytest.raises(g.Degenerate, match="expected finite points"):
        g.Placement(np.zeros((144, 144, 3), np.float32), np.full((468, 3), np.nan, np.float32), basis, cfg["composite"])


def test_the_basis_is_nobody(basis):
    assert 32 <= len(basis.labels) <= 64
    for t in basis.labels:
        assert t["contributors"] >= 8 and t["per_texel"] >= 8 and t["nearest_contributor_cos"] < t["far_1e3_cos"]
    assert np.allclose(np.linalg.norm(basis.embeddings, axis=1), 1, atol=1e-4)


def test_targets_follow_the_labels_asked_for_and_weights_sum_to_one(basis):
    rng = np.random.default_rng(3)
    for sex in (0, 1):
        for _ in range(20):
            w = pairs.draw_target(basis, rng, sex, 30, -1)
            assert abs(w.sum() - 1) < 1e-5 and (w > 0).sum() <= pairs.MIX
            assert sum(float(v) for v, t in zip(w, basis.labels) if t["sex"] == sex) > 0.99


def test_labels_asked_for_bind_more_than_those_estimated(basis):
    rng = np.random.default_rng(6)
    age = np.array([t["age"] for t in basis.labels])
    far = {a: np.mean([abs(pairs.draw_target(basis, rng, 0, 60, -1, a) @ age - 60) for _ in range(200)]) for a in ((), ("age",))}
    assert far[("age",)] < 0.8 * far[()] and far[()] < 20


def test_the_probe_reads_sex_and_age_from_the_textures_portraits(basis):
    v = basis.embeddings @ basis.probe[:, :-1].T + basis.probe[:, -1]
    grown = np.array([t["age"] >= 16 for t in basis.labels])
    sex, age = np.array([t["sex"] for t in basis.labels]), np.array([t["age"] for t in basis.labels])
    assert grown.sum() > 30 and ((v[:, 0] > 0) == sex)[grown].mean() > 0.85
    assert np.abs(v[:, 1] - age)[grown].mean() < 12


def test_synthetic_skin_brings_contrast_to_that_of_people_and_leaves_colour(cfg):
    import basis as stage0
    rng = np.random.default_rng(7)
    people = np.stack([np.clip(150 + 8 * rng.normal(size=(64, 64, 1)) + np.zeros((64, 64, 3)), 0, 255) for _ in range(12)]).astype(np.float32)
    flat = people.mean(0)
    out = stage0.skin(flat, people, cfg["basis"] | dict(skin_share=1.0), np.ones((64, 64), np.float32), np.ones((64, 64), bool), rng)
    fine = lambda z: float((z @ g.LUMA - g.blur(z @ g.LUMA, 1.4)).std())
    one = np.mean([fine(p) for p in people])
    assert fine(flat) < 0.4 * one and 0.8 * one < fine(out) < 1.2 * one
    assert abs(out.mean() - flat.mean()) < 1.0


@pytest.fixture(scope="module")
def pack():
    return modes.Pack(PACK)


def test_zero_guidance_returns_the_frame_exactly(pack):
    rng = np.random.default_rng(4)
    base = modes.unshuffle(rng.integers(0, 256, (128, 128, 3)))
    e = modes.unit(rng.normal(size=192))
    noise = rng.standard_normal((4, 1, 48, 32, 32)).astype(np.float32)
    for steps in (1, 2, 4):
        out = pack.edit(base, np.ones_like(base), steps, lambda x, lam: (-e, None), noise, 0.0, residual=False)
        assert np.abs(out - base).max() * 127.5 <= 1.0


def test_the_mask_pins_what_it_does_not_cover(pack):
    rng = np.random.default_rng(5)
    base = modes.unshuffle(rng.integers(0, 256, (128, 128, 3)))
    mask = np.zeros_like(base)
    mask[..., 8:20, 8:20] = 1
    out = pack.edit(base, mask, 1, lambda x, lam: (modes.unit(np.ones(192)), None), rng.standard_normal((4, 1, 48, 32, 32)).astype(np.float32), 1.0)
    assert np.array_equal(out[mask == 0], base[mask == 0]) and np.abs(out - base)[mask == 1].max() > 0


def test_a_target_is_far_but_not_opposite_and_comes_from_the_seed_alone(pack):
    e = pack.basis.embeddings[7]
    own = pack.basis.shapes[7]
    seen = []

    def look(w):
        seen.append(w)
        return modes.unit(pairs.target_embedding(pack.basis, w) + 0.05 * len(seen))
    draw = lambda seed, f=None: pack.target(e, 0, 30, -1, np.random.default_rng(seed), own, (), f)
    assert np.array_equal(draw(1), draw(1)) and not np.array_equal(draw(1), draw(2))
    w = draw(3, look)
    assert modes.RENDERS <= len(seen) <= modes.RENDERS_MOST
    gap = [abs(float(modes.unit(pairs.target_embedding(pack.basis, s) + 0.05 * (n + 1)) @ e) - modes.AIM) for n, s in enumerate(seen)]
    assert np.array_equal(w, seen[int(np.argmin(gap))])
    near = [float(pairs.target_embedding(pack.basis, draw(s)) @ e) for s in range(20)]
    plain = [float(pairs.target_embedding(pack.basis, pairs.draw_target(pack.basis, np.random.default_rng(s), 0, 30)) @ e) for s in range(20)]
    assert np.mean(near) < np.mean(plain) - 0.1


def test_who_comes_too_near_is_drawn_again_with_more_shape(pack, basis, monkeypatch):
    crop, mesh = drawn_face(np.random.default_rng(9), basis)
    e, tried = modes.unit(np.random.default_rng(10).normal(size=192)), []
    across = modes.unit(np.roll(e, 1) - (np.roll(e, 1) @ e) * e)
    monkeypatch.setattr(pack, "run", lambda *a, attempt, weights, **kw: tried.append((attempt, weights)) or dict(out=attempt))
    near = lambda out: e if out < 2 else across
    assert pack.run_again("ksame", crop, mesh, e, 1, near, weights="kept")["out"] == 2 and tried == [(0, "kept"), (1, None), (2, None)]
    monkeypatch.undo()
    other = [pack.run("prior", crop.astype(np.float32), mesh, e, 1, weights=np.eye(len(basis.labels), dtype=np.float32)[3], attempt=k)["out"] for k in (0, 1, 5, 6)]
    assert np.abs(other[0] - other[1]).max() > 2 and np.array_equal(other[2], other[3])


def shard(folder, pictures, rows):
    with tarfile.open(os.path.join(folder, "crops-0.tar"), "w") as t:
        for name, raw in pictures.items():
            i = tarfile.TarInfo(name)
            i.size = len(raw)
            t.addfile(i, io.BytesIO(raw))
    with open(os.path.join(folder, "index.csv"), "w") as f:
        f.write(",".join(data.COLUMNS) + "\n" + "\n".join(rows) + "\n")


ROW = "utk/{n}.webp,utk,,{age},0,0,0,0,120,300,1 2 3 4 5 6 7 8 9 10,0 0 144 144"


def test_a_folder_without_faces_is_named(tmp_path):
    with pytest.raises(SystemExit, match="expected an index.csv"):
        list(data.crops(str(tmp_path)))


def test_a_label_out_of_range_is_named_with_its_row(tmp_path):
    shard(tmp_path, {}, [ROW.format(n=0, age=30), ROW.format(n=1, age=400)])
    with pytest.raises(SystemExit, match=r"row 3, file utk/1.webp: expected age empty or 0..120, got '400'"):
        list(data.crops(str(tmp_path)))


def test_a_corrupt_picture_is_skipped_by_name_and_the_good_one_read(tmp_path, capsys):
    good = cv2.imencode(".webp", np.full((144, 144, 3), 90, np.uint8))[1].tobytes()
    shard(tmp_path, {"utk/0.webp": b"RIFFnonsense", "utk/1.webp": good}, [ROW.format(n=0, age=30), ROW.format(n=1, age=30)])
    got = list(data.crops(str(tmp_path)))
    assert len(got) == 1 and got[0][0]["file"] == "utk/1.webp" and "utk/0.webp" in capsys.readouterr().err


def test_a_likeness_that_is_linear_is_recovered_for_people_not_fitted_on(basis):
    rng = np.random.default_rng(8)
    axes = np.linalg.qr(rng.normal(size=(192, 6)))[0].T                # people differ in six directions
    v = (0.2 * rng.normal(size=(len(basis.labels), 6)) @ axes).astype(np.float32)
    shape = -0.02 * rng.random(12)

    def rows(seed, people=150, per=12):
        r = np.random.default_rng(seed)
        e = np.repeat(np.stack([modes.unit(r.normal(size=6) @ axes) for _ in range(people)]), per, 0)
        w = np.stack([pairs.draw_target(basis, r, 0, 40) for _ in range(people * per)])
        u = r.random((people * per, 12)) * 2
        y = (w * (e @ v.T)).sum(1) + u @ shape + np.repeat(r.normal(size=people), per) + 0.005 * r.normal(size=people * per)
        return [np.repeat(np.arange(people), per), w, e, u, y]
    cfg = dict(components=6, ridge=0.01, ridge_texture=0.1)
    probe, s = likeness.fit(rows(1), cfg, basis.embeddings)
    new = rows(2)
    corr = lambda a: np.corrcoef(likeness.centred(a, new[0]), likeness.centred(new[4], new[0]))[0, 1]
    assert corr(likeness.told(probe, s, new)) > 0.9 > corr(likeness.told(np.zeros_like(probe), s, new)) and np.abs(s - shape).max() < 0.005


def test_the_packs_promises_are_those_of_the_engine(pack):
    """The same numbers in src/stages/prior/likeness.rs."""
    b = pack.basis
    for (i, j), expected in (((3, 20), 0.104393), ((40, 41), 0.091959)):
        w = np.zeros(len(b.labels), np.float32)
        w[i], w[j] = 0.4, 0.6
        assert abs(pack.promise(w, b.embeddings[7], b.shapes[7]) - expected) < 1e-4


def test_arrays_of_a_basis_are_replaced_and_the_rest_stays(tmp_path, basis):
    import basisio
    import shutil
    folder = shutil.copytree(os.path.join(PACK, "basis"), tmp_path / "basis")
    basisio.replace_numbers(str(folder), likeness_probe=np.ones((3, 5)), extra=np.arange(4))
    t = tomllib.load(open(folder / "basis.toml", "rb"))
    a = basisio.read_numbers(str(folder), t)
    assert a["likeness_probe"].shape == (3, 5) and a["extra"].tolist() == [0, 1, 2, 3] and np.array_equal(a["texture_embedding"], basis.embeddings)
    assert len(t["texture"]) == len(basis.labels) and t["composite"]["shape_clamp_sd"] == 1.6


def test_hashes_are_renewed_and_only_they(tmp_path):
    import export
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / "pack.toml").write_text("# head\n" + "\n".join(export.file_entry(str(tmp_path), n, n) for n in ("a", "b")) + "# tail\n")
    was = (tmp_path / "pack.toml").read_text()
    export.refresh(str(tmp_path))
    assert (tmp_path / "pack.toml").read_text() == was
    (tmp_path / "b").write_bytes(b"another")
    export.refresh(str(tmp_path))
    now = (tmp_path / "pack.toml").read_text()
    assert now.startswith("# head") and now.endswith("# tail\n") and now != was
    assert tomllib.loads(now)["files"]["b"]["bytes"] == 7 and tomllib.loads(now)["files"]["a"] == tomllib.loads(was)["files"]["a"]


def test_an_age_asked_for_goes_beyond_by_half_the_way_and_stays_among_the_grown_up():
    assert [pairs.age_drawn(a, s) for a, s in ((50, 40), (65, 20), (25, 60), (8, 40))] == [55.0, 80.0, 16.0, 8.0]
