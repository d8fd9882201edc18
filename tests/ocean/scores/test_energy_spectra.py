from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from leads.errors import DataError, SettingsError, ShapeError
from leads.ocean.scores import isotropic_spectrum, kinetic_energy_spectrum, zonal_spectrum


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_one_wave_lies_in_its_ring() -> None:
    y, x = torch.arange(24, dtype=torch.float64)[:, None], torch.arange(32, dtype=torch.float64)
    # Wave vector (3, 4) cycles a box of side 64: length 5.
    field = 3 * torch.cos(2 * math.pi * (3 * 2 * x / 64 + 4 * 2 * y / 48)) + 7
    found = isotropic_spectrum(field, (2.0, 2.0), periodic=True)
    length = math.hypot(3 / 64, 4 / 48) * 64
    ring = round(length) - 1
    assert float(found.wavenumber[ring]) == pytest.approx(round(length) / 64)
    assert float(found.density[ring]) == pytest.approx(4.5 * 64)
    assert float(found.density.sum()) == pytest.approx(4.5 * 64)


def test_variance_is_the_integral() -> None:
    field = noise(2, 3, 20, 30)
    found = isotropic_spectrum(field, (3.0, 2.0), periodic=True)
    total = found.density.sum(-1) * float(found.wavenumber[0])
    torch.testing.assert_close(total, field.var((-2, -1), correction=0))
    # Tapered: the mean over many draws.
    many = isotropic_spectrum(noise(400, 16, 16), (1.0, 1.0))
    assert float((many.density.sum(-1) * float(many.wavenumber[0])).mean()) == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("n", [20, 21])
def test_zonal_spectrum_is_scipys(n: int) -> None:
    from scipy.signal import periodogram

    field = noise(2, 6, n)
    k, power = periodogram(field.numpy(), fs=1 / 5.0, window="hann", detrend="constant")
    found = zonal_spectrum(field, 5.0)
    np.testing.assert_allclose(found.wavenumber.numpy(), k[1:])
    np.testing.assert_allclose(found.density.numpy(), power.mean(1)[:, 1:], rtol=1e-10)
    field[:, 2, 4] = torch.nan
    np.testing.assert_allclose(
        zonal_spectrum(field, 5.0).density.numpy(), np.delete(power, 2, 1).mean(1)[:, 1:], rtol=1e-10
    )


def test_kinetic_energy_of_a_jet() -> None:
    y = torch.arange(16, dtype=torch.float64)[:, None].expand(16, 16)
    u = 0.4 * torch.cos(2 * math.pi * 2 * y / 16)
    found = kinetic_energy_spectrum(u, torch.zeros_like(u), (1e4, 1e4), periodic=True)
    assert int(found.density.argmax()) == 1
    assert float(found.density.sum() * found.wavenumber[0]) == pytest.approx(0.4**2 / 4)


def test_bad_planes_are_refused() -> None:
    field = noise(8, 8)
    with pytest.raises(ShapeError, match="along y needs at least 5 points, got 4"):
        isotropic_spectrum(field[:4], (1.0, 1.0))
    field[2, 2] = torch.nan
    with pytest.raises(DataError, match="1 values are missing"):
        isotropic_spectrum(field, (1.0, 1.0))
    with pytest.raises(DataError, match="free of land"):
        zonal_spectrum(field * torch.nan, 1.0)
    with pytest.raises(SettingsError, match="positive"):
        zonal_spectrum(field, 0.0)
