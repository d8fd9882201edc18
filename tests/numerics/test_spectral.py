from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.signal import resample as scipy_resample

from leads.errors import SettingsError, ShapeError
from leads.numerics import SpectralGrid

GRIDS = [((16,), (3.0,)), ((15,), (2.0,)), ((8, 12), (2.0, 5.0)), ((9, 8), (1.0, 1.0)), ((6, 5, 8), (1.0, 2.0, 3.0))]
grids = pytest.mark.parametrize(("shape", "lengths"), GRIDS, ids=str)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def waves(grid: SpectralGrid, points: tuple[int, ...] | None = None) -> torch.Tensor:
    """cos and sin of several modes that a grid of 6 points a side resolves, on ``points`` of the same box."""
    g = SpectralGrid(points or grid.shape, grid.lengths)
    total = torch.full(g.shape, 0.3, dtype=torch.float64)
    mesh = torch.meshgrid(*map(g.coordinates, range(g.ndim)), indexing="ij")
    for n in (1, 2):
        phase = sum((1 if a else n) * 2 * math.pi * x / g.lengths[a] for a, x in enumerate(mesh))
        total = total + torch.cos(phase) / n + 0.7 * torch.sin(phase)
    return total


@grids
def test_round_trip_and_numpy_conventions(shape, lengths) -> None:
    g = SpectralGrid(shape, lengths)
    x = noise(2, 3, *shape)
    xh = g.forward(x)
    assert xh.shape == (2, 3, *g.spectral_shape)
    torch.testing.assert_close(xh, torch.from_numpy(np.fft.rfftn(x.numpy(), axes=g.axes)))
    torch.testing.assert_close(g.inverse(xh), x)
    expected = sum(
        np.meshgrid(
            *[
                ((np.fft.rfftfreq if a == g.ndim - 1 else np.fft.fftfreq)(n, length / n) * 2 * np.pi) ** 2
                for a, (n, length) in enumerate(zip(shape, lengths, strict=True))
            ],
            indexing="ij",
        )
    )
    np.testing.assert_allclose(g.k2.numpy(), expected, rtol=1e-14)
    assert all(torch.broadcast_shapes(k.shape, g.k2.shape) == g.k2.shape for k in g.k)


@grids
def test_derivatives_are_exact(shape, lengths) -> None:
    g = SpectralGrid(shape, lengths)
    mesh = torch.meshgrid(*map(g.coordinates, range(g.ndim)), indexing="ij")
    for axis, (n, length) in enumerate(zip(shape, lengths, strict=True)):
        for m in range(1, (n - 1) // 2 + 1):
            w = 2 * math.pi * m / length
            phase = w * mesh[axis] + 0.4
            for order, exact in enumerate((-torch.sin(phase), -torch.cos(phase), torch.sin(phase)), 1):
                got = g.inverse(g.derivative(axis, order) * g.forward(torch.cos(phase)))
                torch.testing.assert_close(got, w**order * exact, rtol=0, atol=1e-12 * w**order)
            second = g.inverse(g.laplacian * g.forward(torch.cos(phase)))
            torch.testing.assert_close(second, -(w**2) * torch.cos(phase), rtol=0, atol=1e-12 * w**2)


def test_odd_derivative_of_the_nyquist_mode_vanishes_and_the_laplacian_keeps_it() -> None:
    g = SpectralGrid((8, 6), (1.0, 1.0))
    zigzag = (-1.0) ** torch.arange(8, dtype=torch.float64)[:, None].expand(8, 6)
    assert float(g.inverse(g.derivative(0) * g.forward(zigzag)).abs().max()) == 0
    torch.testing.assert_close(g.inverse(g.laplacian * g.forward(zigzag)), -((8 * math.pi) ** 2) * zigzag)
    # An antisymmetric operator: the mean of f g_x is minus that of g f_x.
    f, h = noise(8, 6), noise(8, 6, seed=1)
    ddx = lambda y: g.inverse(g.derivative(1) * g.forward(y))
    torch.testing.assert_close((f * ddx(h)).mean(), -(h * ddx(f)).mean())


@grids
def test_inverse_laplacian(shape, lengths) -> None:
    g = SpectralGrid(shape, lengths)
    x = noise(*shape)
    back = g.inverse(g.laplacian * g.inverse_laplacian * g.forward(x))
    torch.testing.assert_close(back, x - x.mean())
    assert bool(torch.isfinite(g.inverse_laplacian).all())


@grids
def test_parseval_and_spectrum(shape, lengths) -> None:
    g = SpectralGrid(shape, lengths)
    x, y = noise(4, *shape), noise(4, *shape, seed=1) + 2
    xh, yh = g.forward(x), g.forward(y)
    torch.testing.assert_close(g.inner(xh, yh), (x * y).mean(g.axes), rtol=1e-13, atol=1e-14)
    weighted = (g.mode_weights * yh.abs() ** 2).sum(g.axes) / math.prod(shape) ** 2
    torch.testing.assert_close(weighted, y.square().mean(g.axes), rtol=1e-13, atol=0)
    spectrum = g.isotropic_spectrum(yh)
    torch.testing.assert_close(spectrum.sum(-1), y.var(g.axes, correction=0), rtol=1e-13, atol=0)
    # Independently: loop over the whole spectrum.
    full = np.abs(np.fft.fftn(y[0].numpy())) ** 2 / math.prod(shape) ** 2
    k = np.sqrt(
        sum(
            np.meshgrid(
                *[(np.fft.fftfreq(n, le / n) * 2 * np.pi) ** 2 for n, le in zip(shape, lengths, strict=True)],
                indexing="ij",
            )
        )
    )
    dk = 2 * np.pi / max(lengths)
    for b, centre in enumerate(g.bins.tolist()):
        inside = (k >= centre - dk / 2 - 1e-8) & (k < centre + dk / 2 - 1e-8)
        assert float(spectrum[0, b]) == pytest.approx(full[inside].sum(), rel=1e-12, abs=1e-15)


def test_one_wave_lies_in_its_bin() -> None:
    g = SpectralGrid((16, 16), (2 * math.pi, 2 * math.pi))
    y, x = torch.meshgrid(g.coordinates(0), g.coordinates(1), indexing="ij")
    spectrum = g.isotropic_spectrum(g.forward(3 * torch.cos(3 * x - 4 * y)))
    expected = torch.where(g.bins == 5, 4.5, 0.0).to(spectrum)
    torch.testing.assert_close(spectrum, expected, rtol=0, atol=1e-14)


RESAMPLED = [((8,), (20,)), ((8,), (7,)), ((9,), (8,)), ((20,), (8,)), ((12, 10), (18, 9)), ((10, 12), (7, 16)), ((8, 7, 6), (6, 8, 9))]  # fmt: skip


@pytest.mark.parametrize(("old", "new"), RESAMPLED, ids=str)
def test_resampling_band_limited_fields_is_exact(old, new) -> None:
    g = SpectralGrid(old, tuple(1.0 + i for i in range(len(old))))
    x = waves(g)
    fine = SpectralGrid(new, g.lengths)
    got = fine.inverse(g.resample(g.forward(x.expand(3, *old)), new))
    torch.testing.assert_close(got, waves(g, new).expand(3, *new), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("old", "new"), [*RESAMPLED, ((16, 16), (8, 8)), ((8, 8), (16, 12))], ids=str)
def test_resampling_white_noise_agrees_with_scipy(old, new) -> None:
    """Every mode is excited, the Nyquist modes too."""
    g = SpectralGrid(old, (1.0,) * len(old))
    x = noise(*old)
    expected = x.numpy()
    for axis, n in enumerate(new):
        expected = scipy_resample(expected, n, axis=axis)
    got = SpectralGrid(new, g.lengths).inverse(g.resample(g.forward(x), new))
    np.testing.assert_allclose(got.numpy(), expected, rtol=0, atol=1e-13)


def test_interpolation_passes_through_the_old_points() -> None:
    g = SpectralGrid((8, 6), (1.0, 1.0))
    x = noise(8, 6)
    fine = SpectralGrid((16, 18), g.lengths)
    finer = g.resample(g.forward(x), fine.shape)
    torch.testing.assert_close(fine.inverse(finer)[::2, ::3], x)
    torch.testing.assert_close(g.inverse(fine.resample(finer, g.shape)), x)


def test_dealiased_products_are_exact() -> None:
    """A product of masked fields, masked, is that of a grid fine enough to hold it; also where 3 divides the side."""
    for shape in ((16,), (18,), (12, 10)):
        g = SpectralGrid(shape, (1.0,) * len(shape))
        fine = tuple(2 * n for n in shape)
        x, y = (g.dealias * g.forward(noise(*shape, seed=s)) for s in (0, 1))
        f = SpectralGrid(fine, g.lengths)
        exact = f.resample(f.forward(f.inverse(g.resample(x, fine)) * f.inverse(g.resample(y, fine))), shape)
        product = g.forward(g.inverse(x) * g.inverse(y))
        torch.testing.assert_close(g.dealias * product, g.dealias * exact, rtol=0, atol=1e-12)
        assert float((product - exact).abs().max()) > 1e-3
    kept = SpectralGrid((64,), (1.0,)).dealias
    assert int(kept.sum()) == 22
    assert int(SpectralGrid((18,), (1.0,)).dealias.sum()) == 6


def test_exponential_filter_by_hand() -> None:
    g = SpectralGrid((64, 64), (1e6, 1e6))
    f = g.exponential_filter()
    assert f[0, 0] == 1
    assert f[20, 0] == 1
    # k* = pi at the Nyquist mode of an axis, sqrt(2) pi in the corner.
    assert float(f[32, 0]) == pytest.approx(math.exp(-23.6 * (0.35 * math.pi) ** 4))
    assert float(f[32, 32]) == pytest.approx(math.exp(-23.6 * ((2**0.5 - 0.65) * math.pi) ** 4))
    assert g.exponential_filter() is f
    # The definition is by cells, whatever their shape.
    wide = SpectralGrid((32, 64), (7.0, 3.0)).exponential_filter(10.0, 2.0, 2)
    assert float(wide[0, 32]) == pytest.approx(math.exp(-10 * (math.pi - 2) ** 2))


def test_precision_and_cache() -> None:
    g = SpectralGrid((8, 8), (1.0, 1.0))
    single = g.to(torch.zeros(1, dtype=torch.complex64))
    assert single is g.to(torch.zeros(3))
    assert single is SpectralGrid((8, 8), (1, 1)).to(torch.zeros(3))
    assert g.to(torch.zeros(1, dtype=torch.complex128)) is g
    assert single.k2.dtype == torch.float32
    assert single.derivative(0).dtype == torch.complex64
    x = noise(8, 8).float()
    assert single.inverse(single.derivative(0) * single.forward(x)).dtype == torch.float32
    assert single.isotropic_spectrum(single.forward(x)).dtype == torch.float32
    assert hash(g) == hash(SpectralGrid((8, 8), (1.0, 1.0)))


def test_multipliers_made_inside_a_transform_serve_outside() -> None:
    x = noise(3, 6, 5)

    def operator(y: torch.Tensor) -> torch.Tensor:
        yh = grid.forward(y)
        coarse = SpectralGrid((4, 8), grid.lengths).inverse(grid.resample(yh, (4, 8)))
        smooth = grid.exponential_filter() * grid.dealias * grid.inverse_laplacian * grid.derivative(0)
        return grid.inverse(smooth * yh) + grid.isotropic_spectrum(yh).sum() + coarse.pow(3).sum()

    outputs = []
    for first in (
        lambda: torch.func.jvp(operator, (x[0],), (x[1],)),
        lambda: torch.func.grad(lambda z: operator(z).sum())(x[0]),
        lambda: torch.vmap(operator)(x),
        lambda: torch.func.jacfwd(operator)(x[0]),
    ):
        grid = SpectralGrid((6, 5), (1.0, 2.0))
        first()
        y = x[0].clone().requires_grad_()
        operator(y).square().sum().backward()
        outputs.append(y.grad)
    grid = SpectralGrid((6, 5), (1.0, 2.0))
    with torch.inference_mode():
        operator(x[0])
    y = x[0].clone().requires_grad_()
    operator(y).square().sum().backward()
    for grad in outputs:
        torch.testing.assert_close(grad, y.grad)
    torch.testing.assert_close(torch.vmap(operator)(x), torch.stack([operator(y) for y in x]))
    assert torch.autograd.gradcheck(operator, x[0].clone().requires_grad_())


def test_bad_input() -> None:
    with pytest.raises(SettingsError, match="1 to 3 axes"):
        SpectralGrid((4, 4), (1.0,))
    with pytest.raises(SettingsError, match="positive length"):
        SpectralGrid((4, 4), (1.0, 0.0))
    g = SpectralGrid((8, 6), (1.0, 1.0))
    with pytest.raises(ShapeError, match=r"\(\.\.\., 8, 6\)"):
        g.forward(torch.zeros(6, 8))
    with pytest.raises(ShapeError, match=r"\(\.\.\., 8, 4\)"):
        g.inverse(torch.zeros(8, 6, dtype=torch.complex128))
    with pytest.raises(SettingsError, match="int64"):
        g.to(torch.arange(3))
    with pytest.raises(SettingsError, match="axis 2"):
        g.derivative(2)
    with pytest.raises(SettingsError, match="resampled"):
        g.resample(torch.zeros(8, 4, dtype=torch.complex128), (8,))
    with pytest.raises(SettingsError):
        g.exponential_filter(strength=-1.0)
