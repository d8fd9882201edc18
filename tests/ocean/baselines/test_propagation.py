from __future__ import annotations

import math

import pytest
import torch

from leads.environments.equivalent_barotropic_qg import EquivalentBarotropicQG, rotation
from leads.errors import SettingsError, ShapeError
from leads.ocean.baselines import PeriodicPropagation, WindowPropagation, window_geometry

DAY = 86400.0
NOW = torch.zeros(1, dtype=torch.float64)


def days(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64) * DAY


def frames(h: torch.Tensor) -> torch.Tensor:
    """``(E, N, Y, X)`` as one past frame."""
    return h[:, :, None, None]


def test_periodic_box_is_the_family() -> None:
    system = EquivalentBarotropicQG(32)
    import numpy as np

    h = system.sample_x0(2, np.random.RandomState(0))
    latitude, c = torch.tensor([35.0, 40.0]).double(), torch.tensor([2.4, 3.0]).double()
    past = h[None].expand(2, -1, -1, -1, -1)[:, :, None]
    made = PeriodicPropagation(latitude, 1e4, c).forecast(past, NOW, days(1, 2))
    exact = system.simulate(past[:, :, 0], torch.stack([latitude, c, 0 * c], -1), days(0, 1, 2))
    torch.testing.assert_close(made, exact[:, :, 1:])
    torch.testing.assert_close(
        PeriodicPropagation(latitude, 1e4, c).forecast(past, NOW, days(0, 2)), exact[:, :, [0, 2]]
    )


def test_zonal_jet_is_steady() -> None:
    y = torch.linspace(-1, 1, 24).double()
    h = (0.3 * torch.tanh(4 * y))[:, None].expand(24, 30)
    made = WindowPropagation(38.0, (1e4, 1e4), sponge=0.0).forecast(frames(h[None, None]), NOW, days(5))
    torch.testing.assert_close(made[0, 0, 0, 0], h, rtol=0, atol=1e-12)


def basin_mode(n: int, t: float, latitude: float, c: float, length: float) -> torch.Tensor:
    """Exact linear wave of a closed square basin: a carrier that moves west under sines that vanish on the walls."""
    place = rotation(torch.tensor(latitude).double(), torch.tensor(c).double())
    k2 = 2 * (math.pi / length) ** 2 + float(place.stretching)
    omega = float(place.beta) / (2 * math.sqrt(k2))
    x = torch.linspace(0, length, n).double()
    carrier = torch.cos(float(place.beta) / (2 * omega) * x + omega * t)
    return torch.sin(math.pi * x / length)[:, None] * torch.sin(math.pi * x / length) * carrier


def test_basin_mode_to_second_order() -> None:
    latitude, c, length = 38.0, 2.7, 6e5
    errors = []
    for n in (17, 33):
        start = 1e-6 * basin_mode(n, 0.0, latitude, c, length)
        end = 1e-6 * basin_mode(n, 30 * DAY, latitude, c, length)
        method = WindowPropagation(latitude, (length / (n - 1),) * 2, c, sponge=0.0, step=7200.0)
        made = method.forecast(frames(start[None, None]), NOW, days(30))[0, 0, 0, 0]
        errors.append(float((made - end).norm() / end.norm()))
        assert float((start - end).norm() / end.norm()) > 0.5
    assert errors[1] < 0.04
    assert math.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)


def test_eddy_moves_as_in_the_periodic_box() -> None:
    n, spacing = 48, 1e4
    at = (torch.arange(n).double() - n / 2) * spacing
    r2 = at[:, None] ** 2 + at**2
    h = torch.stack([0.25 * torch.exp(-r2 / 6e4**2), -0.2 * torch.exp(-r2 / 7e4**2)])[:, None]
    latitude = torch.tensor([30.0, 40.0]).double()
    box = PeriodicPropagation(latitude, spacing).forecast(frames(h), NOW, days(10))
    window = WindowPropagation(latitude, (spacing, spacing), step=1800.0).forecast(frames(h), NOW, days(10))
    moved = (box[:, 0, 0, 0] - h[:, 0]).norm(dim=(-2, -1))
    error = (window - box)[:, 0, 0, 0].norm(dim=(-2, -1))
    assert float((error / moved).max()) < 0.15


def test_steps_of_an_hour_are_short_enough() -> None:
    """Currents of up to 0.7 m/s on points 10 km apart."""
    at = (torch.arange(24).double() - 12) * 1e4
    h = 0.25 * torch.exp(-(at[:, None] ** 2 + at**2) / 5e4**2)[None, None]
    made = [WindowPropagation(38.0, (1e4, 1e4), step=s).forecast(frames(h), NOW, days(5)) for s in (3600.0, 900.0)]
    change = (made[1][0, 0, 0, 0] - h[0, 0]).norm()
    assert float((made[0] - made[1]).norm() / change) < 1e-6


def test_edges_are_held_and_land_stays_out() -> None:
    g = torch.Generator().manual_seed(0)
    y, x = torch.meshgrid(torch.linspace(0, 6, 20), torch.linspace(0, 7, 22), indexing="ij")
    h = (0.1 * torch.sin(x) * torch.cos(y)).double()[None, None].repeat(2, 2, 1, 1)
    h = h * torch.rand(2, 2, 1, 1, dtype=torch.float64, generator=g)
    land = torch.zeros(20, 22, dtype=torch.bool)
    land[:4, :5] = True
    holed = torch.where(land, torch.nan, h)
    method = WindowPropagation(torch.tensor([35.0, -35.0]).double(), (1e4, 1e4), step=3600.0)
    made = method.forecast(frames(holed), NOW, days(2, 4), land)
    assert torch.isnan(made[..., :4, :5]).all()
    torch.testing.assert_close(made[:, :, 1, 0, -1], h[:, :, -1])
    alone = method.forecast(frames(holed[:1, 1:]).expand(2, -1, -1, -1, -1, -1), NOW, days(2, 4), land)
    torch.testing.assert_close(alone[0, 0], made[0, 1], equal_nan=True)
    # The southern hemisphere is the mirror image of the northern one.
    flipped = WindowPropagation(35.0, (1e4, 1e4), step=3600.0).forecast(frames(holed[1:].flip(-2)), NOW, days(2, 4))
    south = method.forecast(frames(holed), NOW, days(2, 4))[1:]
    torch.testing.assert_close(flipped.flip(-2), south)


def test_window_geometry() -> None:
    latitude, longitude = torch.arange(33.0, 43.1, 0.25), torch.arange(295.0, 305.0, 0.25)
    middle, (dy, dx) = window_geometry(latitude, longitude)
    assert middle == pytest.approx(38)
    assert dy == pytest.approx(math.radians(0.25) * 6.371e6)
    assert dx == pytest.approx(dy * math.cos(math.radians(38)))
    with pytest.raises(SettingsError, match="near the equator"):
        window_geometry(torch.arange(-10.0, 10.0), longitude)
    with pytest.raises(SettingsError, match="near the equator"):
        window_geometry(torch.arange(3.0, 10.0), longitude)
    with pytest.raises(SettingsError, match="not uniform"):
        window_geometry(torch.tensor([10.0, 11.0, 14.0]), longitude)


def test_bad_windows_are_refused() -> None:
    h = torch.zeros(1, 1, 1, 1, 8, 9, dtype=torch.float64)
    with pytest.raises(SettingsError, match="near the equator"):
        WindowPropagation(2.0, (1e4, 1e4)).forecast(h, NOW, days(1))
    with pytest.raises(ShapeError, match="square"):
        PeriodicPropagation(38.0, 1e4).forecast(h, NOW, days(1))
    with pytest.raises(ShapeError, match="C = 2"):
        WindowPropagation(38.0, (1e4, 1e4)).forecast(h.expand(1, 1, 1, 2, 8, 9), NOW, days(1))
    with pytest.raises(ShapeError, match="5 x 5"):
        WindowPropagation(38.0, (1e4, 1e4)).forecast(h[..., :4, :], NOW, days(1))
    with pytest.raises(ShapeError, match="one for each of 1 environments"):
        WindowPropagation(torch.ones(3) * 38, (1e4, 1e4)).forecast(h, NOW, days(1))
    with pytest.raises(SettingsError, match="positive"):
        WindowPropagation(38.0, (0.0, 1e4))
