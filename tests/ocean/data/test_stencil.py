"""The linear reference of benchmarks/ocean: it finds weights that are known."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

PATH = Path(__file__).resolve().parents[3] / "benchmarks" / "ocean" / "stencil.py"


@pytest.fixture(scope="module")
def stencil() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ocean_stencil", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["ocean_stencil"] = module
    spec.loader.exec_module(module)
    return module


def advected(drifts: list[float], noise: float = 0.0) -> np.ndarray:
    """Windows in which waves move east by so many cells a day, cut out of a wider sea: ``(E, T, 16, 16)``."""
    random = np.random.default_rng(0)
    x, y = np.arange(16), np.arange(16)[:, None]
    out = []
    for drift in drifts:
        k, m, p = random.uniform(0.2, 0.5, (3, 12))
        p = p * 40
        t = np.arange(60)[:, None, None, None]
        waves = np.cos(k * (x[None, None, :, None] - drift * t) + m * y[None, :, :, None] + p)
        out.append(waves.mean(-1))
    field = np.stack(out)
    return field + noise * random.standard_normal(field.shape)


def test_features_are_the_cells_around_each_cell_of_sea(stencil: ModuleType) -> None:
    values = np.random.default_rng(0).standard_normal((1, 4, 5, 6))
    sea = np.ones((1, 5, 6), dtype=bool)
    sea[0, 0, 0] = False
    data = stencil.Days(values, sea, frames=2, reach=1)
    x = data.features(0, [1, 2])
    assert x.shape == (2 * 29, 18)
    cell = 1 + 6 + 1 - 1  # row 1, column 2, without the one of land
    np.testing.assert_array_equal(x[cell, :9], values[0, 1, 0:3, 1:4].ravel())
    np.testing.assert_array_equal(x[cell, 9:], values[0, 0, 0:3, 1:4].ravel())
    np.testing.assert_array_equal(data.change(0, [1, 2], 1)[:29], (values[0, 2] - values[0, 1])[sea[0]])


def test_one_drift_is_learned_by_all_and_own_drifts_by_residuals(stencil: ModuleType) -> None:
    windows, sea = [0, 1, 2, 3], np.ones((4, 16, 16), dtype=bool)
    test = range(45, 58)

    def errors(drifts: list[float]) -> dict[str, float]:
        data = stencil.Days(advected(drifts, noise=0.003), sea)
        found, ridges = stencil.forecasts(data, 1, windows, windows, 45, 10, test)
        assert all(r in stencil.RIDGES for r in ridges.values())
        return {k: stencil.rms(v) for k, v in found.items()}

    same, other = errors([0.5] * 4), errors([0.6, -0.6, 0.3, -0.3])
    assert other["pooled"] > 3 * same["pooled"]
    assert other["shared + residual"] < 0.5 * other["pooled"]
    assert other["per window"] < 0.5 * other["pooled"]


def test_shrinking_to_the_shared_weights(stencil: ModuleType) -> None:
    random = np.random.default_rng(1)
    x, y = random.standard_normal((2, 50, 3)), random.standard_normal((2, 50))
    normal = stencil.Normal(np.stack([a.T @ a for a in x]), np.stack([a.T @ b for a, b in zip(x, y, strict=True)]))
    shared = normal.pooled(0.0)
    both = np.concatenate(x)
    np.testing.assert_allclose(shared, np.linalg.lstsq(both, y.ravel(), rcond=None)[0])
    np.testing.assert_allclose(normal.own(1e9, shared), [shared] * 2, atol=1e-8)
    np.testing.assert_allclose(normal.own(0.0, shared)[0], np.linalg.lstsq(x[0], y[0], rcond=None)[0])
