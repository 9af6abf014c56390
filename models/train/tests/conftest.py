"""Synthetic material for the tests: 32 drawn faces, never a photograph. The small networks are found in models/small, or where
NULLFACE_SMALL points."""
import os
import sys
import tomllib

import cv2
import numpy as np
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
TRAIN = os.path.dirname(HERE)
sys.path.insert(0, TRAIN)
PACK = os.path.join(TRAIN, "..", "nullface-128")


def drawn_face(rng, basis):
    """A texture of the basis on a plain field at its mean mesh, relit: 144x144 RGB and its mesh."""
    import geometry as g
    mesh = (basis.mean_shape * 56).astype(np.float32)
    mesh[:, :2] += np.float32([72, 80]) + rng.uniform(-2, 2, 2).astype(np.float32)
    x = np.full((144, 144, 3), rng.uniform(40, 200), np.float32) + rng.normal(0, 3, (144, 144, 3)).astype(np.float32)
    t = basis.textures[int(rng.integers(len(basis.textures)))]
    mx, my, idx = g.sample_map(mesh, basis.canonical, basis.triangles_all, 144, 144)
    face = cv2.remap(t, mx, my, cv2.INTER_LINEAR)
    return np.where((idx >= 0)[..., None], face * rng.uniform(0.8, 1.1), x).clip(0, 255).astype(np.uint8), mesh


@pytest.fixture(scope="session")
def small_folder():
    return os.environ.get("NULLFACE_SMALL", os.path.join(TRAIN, "..", "small"))


@pytest.fixture(scope="session")
def cfg():
    with open(os.path.join(TRAIN, "config.toml"), "rb") as f:
        return tomllib.load(f)


@pytest.fixture(scope="session")
def basis():
    from basisio import read_basis
    return read_basis(os.path.join(PACK, "basis"))


@pytest.fixture(scope="session")
def work(tmp_path_factory, basis, cfg, small_folder):
    """A work folder as data.py and pairs.py leave it, with 32 drawn faces of 16 people."""
    import data
    import geometry as g
    import pairs
    import small
    out = tmp_path_factory.mktemp("work")
    rng = np.random.default_rng(0)
    faces = [drawn_face(rng, basis) for _ in range(32)]
    x, mesh = np.stack([f[0] for f in faces]), np.stack([f[1] for f in faces])
    e = small.Recogniser(small_folder)(np.stack([small.to112(i[8:136, 8:136]) for i in x]))
    np.save(out / "faces-x.npy", x)
    np.savez(out / "faces.npz", mesh=mesh, flag=np.ones(32, np.float32), e=e, age=rng.integers(20, 60, 32), sex=rng.integers(0, 2, 32), group=rng.integers(0, 5, 32), hold=np.zeros(32, np.int32),
             face_px=np.full(32, 120), sharp=np.full(32, 300, np.float32), valid=np.tile([0, 0, 144, 144], (32, 1)), name=np.array([str(i) for i in range(32)]), source=np.array(["drawn"] * 32), identity=np.array([f"p{i // 2}" for i in range(32)]))
    pairs.make(str(out), os.path.join(PACK, "basis"), cfg, 0, None)
    return str(out)
