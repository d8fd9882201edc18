from __future__ import annotations

import math

import pytest
import torch

from leads.errors import DataError, SettingsError, ShapeError
from leads.ocean.scores import Box, Sphere, advect, drifter_scores, skill_score

DAY = 86400.0
RADIUS = 6.371e6


def grid(n: int = 8, spacing: float = 1e4) -> tuple[torch.Tensor, torch.Tensor]:
    y = torch.arange(n, dtype=torch.float64)[:, None].expand(n, n) * spacing
    return y, y.mT


def steady(u: torch.Tensor, v: torch.Tensor, frames: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    return u.expand(frames, *u.shape[-2:]), v.expand(frames, *v.shape[-2:])


def test_uniform_current_carries_all_alike() -> None:
    u = torch.full((4, 6, 6), 0.3, dtype=torch.float64)
    times = torch.arange(4, dtype=torch.float64) * DAY
    start = torch.tensor([[1e4, 5e4], [2.5e4, 0.0]], dtype=torch.float64)
    # Two environments of opposite currents, in one call.
    path = advect(torch.stack([u, -u]), torch.stack([0 * u, u]), times, start, Box((1e4, 1e4)))
    assert path.shape == (2, 2, 4, 2)
    torch.testing.assert_close(path[0, :, -1], start + torch.tensor([3 * DAY * 0.3, 0.0], dtype=torch.float64))
    torch.testing.assert_close(path[1, :, -1], start + 3 * DAY * torch.tensor([-0.3, 0.3], dtype=torch.float64))


def test_current_that_grows_in_time() -> None:
    times = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64) * DAY
    u = (1e-6 * times)[:, None, None].expand(3, 5, 5)
    path = advect(u, 0 * u, times, torch.zeros(1, 2), Box((1e4, 1e4)), at=torch.tensor([0.0, 2.5 * DAY]))
    assert float(path[0, -1, 0]) == pytest.approx(1e-6 * (2.5 * DAY) ** 2 / 2)


def test_saddle_point_to_fourth_order() -> None:
    y, x = grid()
    a = 1e-5
    times = torch.arange(3, dtype=torch.float64) * DAY
    u, v = steady(a * (x - 3e4), -a * (y - 3e4))
    start = torch.tensor([[3.4e4, 6e4]], dtype=torch.float64)
    exact = 3e4 + 0.4e4 * math.exp(a * 1.5 * DAY), 3e4 + 3e4 * math.exp(-a * 1.5 * DAY)
    errors = []
    for step in (DAY / 4, DAY / 8):
        at = torch.tensor([0.0, 1.5 * DAY], dtype=torch.float64)
        path = advect(u, v, times, start, Box((1e4, 1e4), periodic=False), at, step)
        errors.append(math.hypot(float(path[0, -1, 0]) - exact[0], float(path[0, -1, 1]) - exact[1]))
    assert errors[0] < 1.0
    assert math.log2(errors[0] / errors[1]) == pytest.approx(4, abs=0.2)


def test_periodic_box_goes_round() -> None:
    y, _ = grid(8)
    # A shear flow u(y) at a grid row, twice around the box.
    u, v = steady(torch.cos(2 * math.pi * y / 8e4), 0 * y)
    times = torch.arange(3, dtype=torch.float64) * DAY
    path = advect(u, v, times, torch.tensor([[0.0, 0.0], [0.0, 7.5e4]], dtype=torch.float64), Box((1e4, 1e4)))
    assert float(path[0, -1, 0]) == pytest.approx(2 * DAY)
    # Half-way between the last row and the first.
    assert float(path[1, -1, 0]) == pytest.approx(2 * DAY * (1 + math.cos(math.pi / 4)) / 2)


def test_solid_rotation_of_the_sphere() -> None:
    latitude, longitude = torch.arange(20.0, 50.0, 0.5).double(), torch.arange(0.0, 40.0, 0.5).double()
    waters = Sphere(latitude, longitude)
    u = torch.cos(torch.deg2rad(latitude))[:, None].expand(60, 80)
    times = torch.arange(3, dtype=torch.float64) * DAY
    start = torch.tensor([[5.0, 30.0], [7.25, 44.5]], dtype=torch.float64)
    path = advect(*steady(u, 0 * u), times, start, waters)
    turned = math.degrees(2 * DAY / RADIUS)
    torch.testing.assert_close(path[:, -1, 0], start[:, 0] + turned)
    north = advect(*steady(0 * u, 0 * u + 0.5), times, start, waters)
    torch.testing.assert_close(north[:, -1, 1], start[:, 1] + turned / 2)
    torch.testing.assert_close(waters.distance(north[:, -1], start), torch.full((2,), DAY, dtype=torch.float64))


def test_all_longitudes_are_periodic() -> None:
    latitude, longitude = torch.arange(-10.0, 11.0).double(), torch.arange(0.0, 360.0).double()
    waters = Sphere(latitude, longitude)
    assert waters.periodic
    assert not Sphere(latitude, longitude[:200]).periodic
    u = torch.ones(3, 21, 360, dtype=torch.float64)
    path = advect(u, 0 * u, torch.arange(3).double() * DAY, torch.tensor([[359.7, 0.0]]).double(), waters)
    assert float(path[0, -1, 0]) == pytest.approx(359.7 + math.degrees(2 * DAY / RADIUS))


def test_distance_is_a_great_circle() -> None:
    waters = Sphere(torch.arange(0.0, 5.0), torch.arange(0.0, 5.0))
    places = torch.tensor([[0.0, 0.0], [90.0, 0.0], [10.0, 60.0], [30.0, 60.0]], dtype=torch.float64)
    assert float(waters.distance(places[0], places[1])) == pytest.approx(RADIUS * math.pi / 2)
    cosine = math.sin(math.radians(60)) ** 2 + math.cos(math.radians(60)) ** 2 * math.cos(math.radians(20))
    assert float(waters.distance(places[2], places[3])) == pytest.approx(RADIUS * math.acos(cosine))


def test_skill_by_hand() -> None:
    u = torch.ones(5, 4, 4, dtype=torch.float64)
    times = torch.arange(5, dtype=torch.float64) * DAY
    start = torch.zeros(2, 2, dtype=torch.float64)
    s = drifter_scores((1.1 * u, 0 * u), (u, 0 * u), times, start, Box((1e4, 1e4)))
    torch.testing.assert_close(s.mean_separation, 0.1 * times)
    # d_i / l_i = 0.1 at every time.
    assert s.skill.tolist() == pytest.approx([0.9, 0.9])
    assert s.afloat.tolist() == [1] * 5
    far = drifter_scores((-u, 0 * u), (u, 0 * u), times, start, Box((1e4, 1e4)))
    assert far.skill.tolist() == [0, 0]
    assert skill_score(far.separation, far.truth, Box((1e4, 1e4)), tolerance=4).tolist() == pytest.approx([0.5, 0.5])


def test_land_and_edges_lose_drifters() -> None:
    u = torch.full((3, 6, 6), 0.5, dtype=torch.float64)
    u[:, :, 4] = torch.nan
    times = torch.arange(3, dtype=torch.float64) * DAY / 4
    start = torch.tensor([[0.0, 2e4], [2.6e4, 2e4], [4.5e4, 2e4]], dtype=torch.float64)
    box = Box((1e4, 1e4), periodic=False)
    path = advect(u, 0 * u, times, start, box)
    assert torch.isfinite(path[0]).all()
    assert torch.isfinite(path[:2, 0]).all()
    assert torch.isnan(path[1:, -1]).all()
    s = drifter_scores((0 * u + torch.nan_to_num(u), 0 * u), (u, 0 * u), times, start, box)
    assert s.afloat[-1] == 1
    assert float(s.mean_separation[-1]) == 0
    out = advect(torch.full_like(u, 2.0), 0 * u.nan_to_num(), times, start[:1], box)
    assert torch.isnan(out[0, -1]).all()


def test_paths_have_gradients() -> None:
    y, x = grid(5)
    scale = torch.tensor(1e-5, dtype=torch.float64, requires_grad=True)
    u, v = steady(scale * (x - 2e4), -scale * (y - 2e4))
    times = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64) * DAY / 2
    end = advect(u, v, times, torch.tensor([[2.4e4, 3e4]]).double(), Box((1e4, 1e4)))[0, -1, 0]
    (slope,) = torch.autograd.grad(end, scale)
    assert float(slope) == pytest.approx(0.4e4 * DAY * math.exp(1e-5 * DAY), rel=1e-5)


def test_bad_currents_are_refused() -> None:
    u = torch.ones(3, 4, 4, dtype=torch.float64)
    times, start, box = torch.arange(3).double(), torch.zeros(1, 2).double(), Box((1.0, 1.0))
    with pytest.raises(ShapeError, match="same shape"):
        advect(u, u[:2], times, start, box)
    with pytest.raises(ShapeError, match="as many times"):
        advect(u, u, times[:2], start, box)
    with pytest.raises(DataError, match="all land"):
        advect(u * torch.nan, u, times, start, box)
    with pytest.raises(SettingsError, match="known from 0 to 2"):
        advect(u, u, times, start, box, torch.tensor([0.0, 5.0]))
    with pytest.raises(ShapeError, match="5 latitudes"):
        advect(u, u, times, start, Sphere(torch.arange(5.0), torch.arange(4.0)))
    with pytest.raises(SettingsError, match="must increase; flip"):
        Sphere(torch.arange(5.0).flip(0), torch.arange(4.0))
    with pytest.raises(SettingsError, match="not uniform"):
        Sphere(torch.tensor([0.0, 1.0, 3.0]), torch.arange(4.0))
    with pytest.raises(SettingsError, match="between -90 and 90"):
        Sphere(torch.arange(80.0, 95.0), torch.arange(4.0))
    with pytest.raises(ShapeError, match="the true one"):
        drifter_scores((u, u), (u[:2], u[:2]), times, start, box)
    with pytest.raises(SettingsError, match="tolerance"):
        skill_score(torch.zeros(3), torch.zeros(3, 2), box, 0.0)
