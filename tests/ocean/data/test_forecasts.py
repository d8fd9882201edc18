"""Forecasts out: what CF asks for, and what comes back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from ocean_files import dates, height, truth

from leads.errors import DataError, FileError, SettingsError, ShapeError
from leads.ocean.data import Regions, Windows, cut, forecast_dataset, read_gridded, write_forecast

DAY = 86400.0


@pytest.fixture
def forecast() -> Windows:
    """Four windows of 8 x 8, the east column of them half land; two starts, four leads, which repeat the truth."""
    w = cut(read_gridded(height(8, ny=16, nx=24)), Regions(window=8, stride=(8, 6), sea=0.5))
    x = w.trajectories.states
    states = torch.stack([x[:, 0, 0:4], x[:, 0, 3:7]], 1)
    began = np.stack([w.dates()[:, 0, 0], w.dates()[:, 0, 3]], 1)
    return w.with_states(states.nan_to_num(5.0), torch.arange(4) * DAY, began)


def test_a_map_of_all_windows(forecast: Windows) -> None:
    assert not bool((forecast.trajectories.states == 5.0).any())  # land is NaN again, whatever a network made of it
    error = torch.full_like(forecast.trajectories.states, 0.02)
    data = forecast_dataset(forecast, error)
    assert data["adt"].dims == ("forecast_reference_time", "forecast_period", "latitude", "longitude")
    stored = truth(height(8, ny=16, nx=24))
    np.testing.assert_allclose(data["adt"].values[1, 2][:, :14], stored[5][:, :14], rtol=1e-6)
    assert (data["time"].values[1] == dates(8)[3:7]).all()
    assert data["forecast_period"].values.tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(data["adt_standard_error"].values[np.isfinite(data["adt"].values)], 0.02)
    assert bool((data["adt_standard_error"].isnull() == data["adt"].isnull()).all())


def test_attributes_that_cf_asks_for(forecast: Windows) -> None:
    data = forecast_dataset(forecast, torch.zeros_like(forecast.trajectories.states))
    assert data.attrs["Conventions"].startswith("CF-1.")
    assert data["adt"].attrs["standard_name"] == "sea_surface_height_above_geoid"
    assert data["adt"].attrs["units"] == "m"
    assert data["adt"].attrs["ancillary_variables"] == "adt_standard_error"
    assert data["adt_standard_error"].attrs["standard_name"] == "sea_surface_height_above_geoid standard_error"
    assert data.cf["sea_surface_height_above_geoid"].name == "adt"
    assert data.cf.axes == {"X": ["longitude"], "Y": ["latitude"], "T": ["time"]}
    names = data.cf.standard_names
    assert names["forecast_period"] == ["forecast_period"]
    assert names["forecast_reference_time"] == ["forecast_reference_time"]


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
@pytest.mark.parametrize("layout", ["map", "windows", "oceanbench"])
def test_files_give_back_what_was_written(forecast: Windows, layout: str, suffix: str, tmp_path: Path) -> None:
    data = forecast_dataset(forecast, torch.ones_like(forecast.trajectories.states), layout=layout)
    path = write_forecast(data, tmp_path / f"f{suffix}")
    assert write_forecast(data, path) == path  # over what was there
    opened = (
        xarray.open_dataset(path, engine="h5netcdf") if suffix == ".nc" else xarray.open_zarr(path, consolidated=False)
    )
    with opened as back:
        xarray.testing.assert_allclose(back.load(), data)
        for name in data.data_vars:
            assert back[name].attrs == data[name].attrs
            assert back[name].dtype == "float32"
    assert [p.name for p in tmp_path.iterdir()] == [f"f{suffix}"]


def test_a_map_is_read_as_a_file_of_altimetry(forecast: Windows, tmp_path: Path) -> None:
    data = forecast_dataset(forecast.select(trajectories=[0])).isel(forecast_reference_time=0)
    flat = data.drop_vars(["forecast_reference_time"]).swap_dims(forecast_period="time").drop_vars("forecast_period")
    read = read_gridded(write_forecast(flat, tmp_path / "f.nc"))
    np.testing.assert_allclose(read["adt"].values, data["adt"].values, rtol=1e-6)


def test_oceanbench_counts_days_from_the_first(forecast: Windows) -> None:
    data = forecast_dataset(forecast, layout="oceanbench")
    assert data["zos"].dims == ("first_day_datetime", "lead_day_index", "latitude", "longitude")
    assert data["lead_day_index"].values.tolist() == [0, 1, 2]
    assert (data["first_day_datetime"].values == dates(8)[[1, 4]]).all()
    np.testing.assert_allclose(data["zos"].values[0, 0][:, :14], truth(height(8, ny=16, nx=24))[1][:, :14], rtol=1e-6)
    slow = forecast.with_states(forecast.trajectories.states, torch.arange(4) * 2 * DAY)
    with pytest.raises(SettingsError, match=r"lead times of 1, 2, 3, \.\.\. days"):
        forecast_dataset(slow, layout="oceanbench")


def test_what_is_no_map_is_laid_out_by_window(forecast: Windows) -> None:
    began = forecast.began.copy()
    began[1] += np.timedelta64(1, "D")
    other = forecast.with_states(forecast.trajectories.states, began=began)
    with pytest.raises(DataError, match=r"different dates.*layout='windows'"):
        forecast_dataset(other)
    data = forecast_dataset(other, layout="windows")
    assert data["adt"].shape == tuple(forecast.trajectories.states.squeeze(3).shape)
    np.testing.assert_allclose(data["latitude"].values, forecast.latitude)
    assert data["window_name"].values.tolist() == list(forecast.names)
    with pytest.raises(ShapeError, match="standard_error has shape"):
        forecast_dataset(forecast, torch.zeros(1))
    with pytest.raises(SettingsError, match="layout is one of"):
        forecast_dataset(forecast, layout="globe")


def test_a_failed_write_leaves_what_was_there(forecast: Windows, tmp_path: Path) -> None:
    data = forecast_dataset(forecast)
    path = write_forecast(data, tmp_path / "f.nc")
    before = path.read_bytes()
    broken = data.assign(bad=("x", np.array([object()], dtype=object)))
    with pytest.raises((FileError, TypeError)):
        write_forecast(broken, path)
    assert path.read_bytes() == before
    with pytest.raises(FileError, match=r"\.nc or \.zarr"):
        write_forecast(data, tmp_path / "f.csv")
