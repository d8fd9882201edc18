from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.stats import kstest

from leads.errors import SettingsError, UnknownNameError
from leads.numerics import SpectralGrid, mode_variance, random_field

GRIDS = [((128,), (20.0,)), ((32, 40), (10.0, 12.0)), ((16, 15, 18), (8.0, 8.0, 9.0))]
grids = pytest.mark.parametrize(("shape", "lengths"), GRIDS, ids=str)


def peaked(k: torch.Tensor) -> torch.Tensor:
    return k**4 * torch.exp(-2 * (k / 2) ** 2)


@grids
def test_modes_carry_the_requested_variance(shape, lengths) -> None:
    g = SpectralGrid(shape, lengths)
    x = random_field(g, peaked, 200, np.random.RandomState(0))
    assert x.shape == (200, *shape)
    assert x.dtype == torch.float64
    assert float(x.mean(g.axes).abs().max()) < 1e-15
    expected = g.mode_weights * mode_variance(g, peaked)
    spectrum = g.isotropic_spectrum(g.forward(x)).mean(0)
    bins = torch.zeros_like(spectrum)
    for b, centre in enumerate(g.bins):
        inside = ((g.k2.sqrt() - centre) / g.bins[0] + 0.5 + 1e-9).floor() == 0
        bins[b] = expected[inside].sum()
    heavy = bins > 1e-3 * bins.max()
    # 200 samples of at least one complex pair a bin: five standard errors.
    assert float(((spectrum - bins)[heavy] / bins[heavy]).abs().max()) < 5 / math.sqrt(200)


@grids
def test_fixed_amplitudes_give_every_field_exactly_the_spectrum(shape, lengths) -> None:
    g = SpectralGrid(shape, lengths)
    x = random_field(g, peaked, 3, np.random.RandomState(0), amplitudes="fixed")
    power = g.forward(x).abs() ** 2 / math.prod(shape) ** 2
    torch.testing.assert_close(power, mode_variance(g, peaked).expand_as(power), rtol=1e-9, atol=1e-18)
    # The box is large enough for the sum over modes to be the integral over wavenumbers.
    total = quad(lambda k: float(peaked(torch.tensor(k))), 0, 12)[0]
    assert float(x[0].square().mean()) == pytest.approx(total, rel=0.02)
    assert float((x[0] - x[1]).abs().max()) > 0.1


def test_gaussian_and_isotropic() -> None:
    g = SpectralGrid((32, 32), (10.0, 10.0))
    x = random_field(g, peaked, 400, np.random.RandomState(1))
    values = x[:, 0, 0] / mode_variance(g, peaked).mul(g.mode_weights).sum().sqrt()
    assert kstest(values.numpy(), "norm").pvalue > 0.01
    xh = g.forward(x)
    along = [float(g.inner(g.derivative(a) * xh, g.derivative(a) * xh).mean()) for a in (0, 1)]
    assert along[0] == pytest.approx(along[1], rel=0.05)


def test_a_seed_names_the_fields() -> None:
    g = SpectralGrid((16, 16), (1.0, 1.0))
    draw = lambda n: random_field(g, lambda k: torch.exp(-k / 10), n, np.random.RandomState(3))
    assert torch.equal(draw(2), draw(2))
    assert torch.equal(draw(3)[:2], draw(2))
    assert torch.equal(
        draw(1), random_field(g.to(torch.zeros(1)), lambda k: torch.exp(-k / 10), 1, np.random.RandomState(3))
    )


def test_bad_input() -> None:
    g = SpectralGrid((8,), (1.0,))
    with pytest.raises(SettingsError, match="not negative"):
        random_field(g, lambda k: -k, 1, np.random.RandomState(0))
    with pytest.raises(SettingsError, match="At least one"):
        random_field(g, peaked, 0, np.random.RandomState(0))
    with pytest.raises(UnknownNameError, match="gaussian"):
        random_field(g, peaked, 1, np.random.RandomState(0), amplitudes="gausian")
