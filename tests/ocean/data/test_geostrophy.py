"""Geostrophic velocities against exact fields, and against the producer's own on a real day."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from ocean_files import height
from torch.func import jvp, vmap

from leads.errors import DataError, SettingsError, ShapeError
from leads.ocean.data import (
    add_geostrophic_velocity,
    beta,
    coriolis,
    deformation_radius,
    geostrophic_velocity,
    have_public_files,
    public_file,
    read_gridded,
)
from leads.ocean.data.geostrophy import GRAVITY, RADIUS, ROTATION
from leads.ocean.data.public import INSTALL

RAD = math.pi / 180


def grid(ny: int, nx: int, south: float = 30.0, step: float = 0.25) -> tuple[torch.Tensor, torch.Tensor]:
    return south + step * torch.arange(ny, dtype=torch.float64), 5.0 + step * torch.arange(nx, dtype=torch.float64)


def test_rotation_at_45_degrees() -> None:
    lat = torch.tensor([45.0, -45.0], dtype=torch.float64)
    assert float(coriolis(lat)[0]) == pytest.approx(2 * 7.2921e-5 * math.sqrt(0.5), rel=1e-12)
    assert float(coriolis(lat)[1]) == -float(coriolis(lat)[0])
    d = 1e-4
    slope = (coriolis(lat + d) - coriolis(lat - d)) / (2 * d * RAD * RADIUS)
    torch.testing.assert_close(beta(lat), slope, rtol=1e-8, atol=0.0)
    # Chelton et al. (1998): about 30 km at 43 N for c = 3 m/s, 240 km or so at the equator.
    assert float(deformation_radius(torch.tensor(43.0, dtype=torch.float64), 3.0)) == pytest.approx(30.2e3, rel=2e-3)
    equator = math.sqrt(2.7 / (2 * 2 * ROTATION / RADIUS))
    assert float(deformation_radius(torch.tensor(0.0, dtype=torch.float64), 2.7)) == pytest.approx(equator, rel=1e-9)


@pytest.mark.parametrize(("stencil", "order"), [(3, 2), (5, 4), (7, 6), (9, 8)])
def test_orders_of_the_stencils(stencil: int, order: int) -> None:
    """h = sin(a lat) cos(b lon): exact derivatives on the sphere, errors that fall with the order of the stencil."""

    def error(n: int) -> float:
        lat, lon = grid(n, n, step=8.0 / n)
        h = torch.sin(40 * lat * RAD)[:, None] * torch.cos(50 * lon * RAD)[None]
        u, v = geostrophic_velocity(h, lat, lon, stencil=stencil, coast="nan")
        f = coriolis(lat)[:, None]
        exact_u = -GRAVITY / f / RADIUS * 40 * torch.cos(40 * lat * RAD)[:, None] * torch.cos(50 * lon * RAD)[None]
        exact_v = GRAVITY / f / (RADIUS * torch.cos(lat * RAD)[:, None]) * -50 * torch.sin(40 * lat * RAD)[:, None] * torch.sin(50 * lon * RAD)[None]  # fmt: skip
        inner = slice(4, -4)
        return max(float((u - exact_u)[inner, inner].abs().max()), float((v - exact_v)[inner, inner].abs().max()))

    assert math.log2(error(32) / error(64)) == pytest.approx(order, abs=0.25)


def test_at_the_coast_the_stencil_narrows_and_ends() -> None:
    lat, lon = grid(9, 12)
    slope = torch.arange(12, dtype=torch.float64).expand(9, 12).clone()
    exact = GRAVITY / coriolis(lat) / (RADIUS * torch.cos(lat * RAD) * 0.25 * RAD)
    slope[:, 6] = torch.nan  # a wall of land: columns 0..5 and 7..11 are sea
    _, v = geostrophic_velocity(slope, lat, lon)
    seen = torch.isfinite(v[4])
    assert seen.tolist() == [False, True, True, True, True, False, False, False, True, True, True, False]
    torch.testing.assert_close(v[:, 3], exact)
    _, v = geostrophic_velocity(slope, lat, lon, coast="one_sided")
    assert torch.isfinite(v[4]).tolist() == [*[True] * 6, False, *[True] * 5]
    torch.testing.assert_close(v[:, 7], exact)
    _, v = geostrophic_velocity(slope, lat, lon, coast="nan")
    assert not bool(torch.isfinite(v).any())


def test_longitudes_that_go_round_the_globe_are_periodic() -> None:
    lat = torch.arange(40.25, 45, 0.5, dtype=torch.float64)
    lon = torch.arange(0.25, 360, 0.5, dtype=torch.float64)
    h = torch.sin(6 * lon * RAD).expand(len(lat), -1)
    _, v = geostrophic_velocity(h, lat, lon)
    exact = GRAVITY / coriolis(lat)[:, None] * 6 * torch.cos(6 * lon * RAD) / (RADIUS * torch.cos(lat * RAD)[:, None])
    torch.testing.assert_close(v, exact, rtol=1e-6, atol=1e-8)


def test_windows_of_their_own_are_batched_and_differentiable() -> None:
    lat, lon = grid(10, 12)
    lats, lons = torch.stack([lat, lat + 7.0]), torch.stack([lon, lon - 3.0])
    h = torch.randn(2, 10, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    both = geostrophic_velocity(h, lats, lons)
    for i in range(2):
        one = geostrophic_velocity(h[i], lats[i], lons[i])
        torch.testing.assert_close(both[0][i], one[0], equal_nan=True)
        torch.testing.assert_close(both[1][i], one[1], equal_nan=True)
    linear = lambda x: geostrophic_velocity(x, lat, lon)[1]
    _, tangent = jvp(linear, (h[0],), (h[1],))
    torch.testing.assert_close(tangent[:, 1:-1], linear(h[1])[:, 1:-1])
    torch.testing.assert_close(vmap(linear)(h)[1], linear(h[1]), equal_nan=True)


def test_near_the_equator() -> None:
    lat = torch.arange(-8.0, 8.5, 1.0, dtype=torch.float64)
    lon = torch.arange(0.0, 10.0, dtype=torch.float64)
    h = lat[:, None] * lon
    u, _ = geostrophic_velocity(h, lat, lon)
    assert torch.isfinite(u[:, 3]).tolist() == [False, *[True] * 3, *[False] * 9, *[True] * 3, False]
    with pytest.raises(DataError, match=r"from -8 to 8 come within 5 degrees of the equator.*near_equator='nan'"):
        geostrophic_velocity(h, lat, lon, near_equator="error")


def test_bad_arguments() -> None:
    lat, lon = grid(5, 6)
    h = torch.zeros(5, 6, dtype=torch.float64)
    with pytest.raises(SettingsError, match="stencil is one of 3, 5, 7, 9"):
        geostrophic_velocity(h, lat, lon, stencil=4)
    with pytest.raises(SettingsError, match="near_equator"):
        geostrophic_velocity(h, lat, lon, near_equator="drop")
    with pytest.raises(SettingsError, match="coast"):
        geostrophic_velocity(h, lat, lon, coast="mirror")
    with pytest.raises(ShapeError, match="as many rows"):
        geostrophic_velocity(h.T, lat, lon)
    with pytest.raises(DataError, match="latitude must increase in equal steps"):
        geostrophic_velocity(h, lat.flip(0), lon)


def test_a_dataset_gets_velocities_with_their_names() -> None:
    data = add_geostrophic_velocity(read_gridded(height(2)))
    assert data["ugos"].attrs["standard_name"] == "surface_geostrophic_eastward_sea_water_velocity"
    assert data["vgos"].dims == ("time", "latitude", "longitude")
    lat, lon = (torch.as_tensor(data[a].values.astype("float64")) for a in ("latitude", "longitude"))
    want = geostrophic_velocity(torch.as_tensor(data["adt"].values), lat, lon)[1]
    np.testing.assert_allclose(data["vgos"].values, want, equal_nan=True)
    with pytest.raises(DataError, match="no variable 'sla'"):
        add_geostrophic_velocity(data, "sla")


@pytest.mark.skipif(not have_public_files(), reason=f"needs real data: {INSTALL}")
def test_the_producers_own_velocities_of_a_real_day() -> None:
    """Latitudes 8 to 60, where the nine points are sea: 1.15 and 1.04 cm/s, against 15 cm/s of the velocities."""
    data = read_gridded(public_file("global")).sel(latitude=slice(-62, 62)).load()
    lat, lon = (torch.as_tensor(data[a].values.astype("float64")) for a in ("latitude", "longitude"))
    own = {n: torch.as_tensor(data[n].values)[0] for n in ("ugos", "vgos")}
    h = torch.as_tensor(data["adt"].values)[0]
    chosen = (lat.abs() >= 8) & (lat.abs() <= 60)
    for coast, limits, least in (("nan", (1.2e-2, 1.2e-2), 415_000), ("narrow", (1.4e-2, 1.35e-2), 428_000)):
        found = geostrophic_velocity(h, lat, lon, coast=coast)
        for mine, theirs, limit in zip(found, own.values(), limits, strict=True):
            good = torch.isfinite(mine) & torch.isfinite(theirs) & chosen[:, None]
            assert int(good.sum()) > least
            assert float((mine - theirs)[good].square().mean().sqrt()) < limit
    close = torch.isfinite(own["ugos"]) & (lat.abs() < 5)[:, None]
    assert bool(close.any())
    assert not bool(torch.isfinite(found[0][close]).any())
