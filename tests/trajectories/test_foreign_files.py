"""Labelled files of others: what they do not say, or say twice, is never guessed."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray

from leads.environments import Channel, Grid
from leads.errors import DataError, FileError, LeadsError, SettingsError, ShapeError
from leads.trajectories import Trajectories, from_xarray, load, read, save, to_xarray
from leads.trajectories.times import times_of

pytestmark = pytest.mark.filterwarnings("ignore:.*Zarr V3 specification")
LEAD = ("environment", "trajectory", "time")
X = 100.0 + 0.5 * np.arange(4)
STATES = np.random.RandomState(0).rand(2, 1, 3, 4)


def foreign(**changes: Any) -> xarray.Dataset:
    """A sound file of somebody else: a field on a line, one parameter."""
    return xarray.Dataset(
        {"u": ((*LEAD, "x"), STATES, {"units": "m s-1"})},
        {
            "time": [0.0, 1.0, 2.0],
            "x": ("x", X, {"units": "m"}),
            "nu": ("environment", [0.1, 0.2], {"units": "m2 s-1"}),
            **changes,
        },
    )


@pytest.fixture(params=["memory", "load", "read", ".zarr"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Every way in, which all hold the same contract."""

    def call(dataset: xarray.Dataset, **settings: Any) -> Trajectories:
        if request.param == "memory":
            return from_xarray(dataset, **settings)
        if request.param == ".zarr":
            dataset.to_zarr(tmp_path / "a.zarr", mode="w", consolidated=False)
            return load(tmp_path / "a.zarr", **settings)
        dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
        return load(tmp_path / "a.nc", **settings) if request.param == "load" else read(tmp_path / "a.nc", **settings)

    return call


def test_a_sound_file_needs_nothing(way: Any) -> None:
    data = way(foreign())
    assert np.array_equal(data.states[:, :, :, 0].numpy(), STATES)
    assert data.channels == (Channel("u", "m s-1"),)
    assert data.grid == Grid((4,), (0.5,), ("x",), "m", False)
    assert data.attributes == {"grid_origin": [100.0]}
    assert (data.parameter_specs[0].name, data.parameter_specs[0].unit) == ("nu", "m2 s-1")
    assert data.parameters.tolist() == [[0.1], [0.2]]
    assert way(foreign(), periodic=True).grid.periodic
    assert to_xarray(data)["x"].values.tolist() == X.tolist()  # where the cells were, they stay


def broken(spoil: Any) -> xarray.Dataset:
    dataset = foreign()
    return spoil(dataset) or dataset


def attrs(name: str, **changes: Any) -> Any:
    return lambda d: d[name].attrs.update(changes)


BAD = [
    (lambda d: d.drop_vars("time"), ShapeError, "no coordinate 'time'"),
    (lambda d: d.assign_coords(x=("x", X**2, {"units": "m"})), DataError, "not a uniform increasing grid"),
    (lambda d: d.assign_coords(x=("x", X**2, {"units": "m", "spacing": 0.5})), DataError, "not a uniform"),
    (lambda d: d.assign_coords(x=("x", X[::-1], {"units": "m", "spacing": 0.5})), DataError, "not a uniform"),
    (attrs("x", spacing=0.25), DataError, "x are 0.5 apart, but their attribute spacing is 0.25"),
    (attrs("x", spacing="wide"), DataError, "spacing of x must be a number"),
    (lambda d: d["x"].attrs.pop("units") and None, DataError, r"x of the dataset: no units.*units=\{'x': '1'\}"),
    (lambda d: d["u"].attrs.pop("units") and None, DataError, r"u of the dataset: no units.*units=\{'u': '1'\}"),
    (attrs("u", units=1), DataError, r"u of the dataset: units .*1.* are no text"),
    (lambda d: d["nu"].attrs.pop("units") and None, DataError, r"nu of the dataset: no units"),
    (attrs("nu", valid_min="low"), DataError, "valid_min and valid_max of nu"),
    (lambda d: d.assign_coords(nu=("environment", [0.1, np.nan], {"units": "1"})), DataError, "nu of environment 1"),
    (lambda d: d.assign_coords(nu=("environment", [np.inf, 1], {"units": "1"})), DataError, "nu of environment 0 is inf"),
    (lambda d: d.assign_coords(time=np.array(["2001", "NaT", "2003"], "datetime64[ns]")), DataError, r"frame 1.*NaT"),
    (lambda d: d.assign_coords(time=["a", "b", "c"]), DataError, "numbers, dates or durations"),
    (lambda d: d.assign_coords(time=[0.0, 2.0, 1.0]), DataError, "increase strictly"),
    (lambda d: d.rename(u="old").isel(time=0, drop=True).expand_dims(time=[0.0]).isel(trajectory=0), LeadsError, "traj"),
    (lambda d: d.assign(v=d["u"].isel(x=0, drop=True)), ShapeError, "u has .*, v has .*interpolate"),
    (lambda d: d.assign(u_observed=d["u"].isel(x=0, drop=True) > 0), ShapeError, "mask u_observed"),
    (lambda d: d.assign_attrs(leads_format=2), FileError, "later version"),
    (lambda d: d[["nu"]].assign(w=("x", X)).assign_coords(d.coords), ShapeError, r"lacks|no variable of numbers"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "error", "message"), BAD)
def test_what_is_wrong_is_said(way: Any, spoil: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        way(broken(spoil))


def test_the_file_is_named(tmp_path: Path) -> None:
    broken(attrs("x", spacing=0.25)).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    for call in (load, read):
        with pytest.raises(DataError, match=r"a\.nc: The coordinates x"):
            call(tmp_path / "a.nc")


def test_units_are_given_by_the_caller(way: Any) -> None:
    bare = foreign()
    for name in ("u", "nu", "x"):
        del bare[name].attrs["units"]
    data = way(bare, units={"u": "m s-1", "nu": "m2 s-1", "x": "m"})
    assert (data.channels, data.grid) == (way(foreign()).channels, way(foreign()).grid)
    assert data.parameter_specs == way(foreign()).parameter_specs
    with pytest.raises(SettingsError, match=r"units names 'v', which is not read"):
        way(foreign(), units={"v": "m"})
    with pytest.raises(SettingsError, match="unit of u must be text"):
        way(foreign(), units={"u": 1})


def test_no_grid_where_it_is_not_wanted_or_not_there(way: Any) -> None:
    stretched = foreign(x=("x", X**2))
    assert way(stretched, ignore_grid=True).grid is None
    assert way(foreign().drop_vars("x")).grid is None


@pytest.mark.parametrize(
    ("times", "seconds", "origin"),
    [
        (np.array(["2001-02-28", "2001-03-01", "2001-03-01T12"], "datetime64[ns]"), [0, 86400, 129600], "2001-02-28T"),
        (np.array([60, 61, 63], "timedelta64[m]").astype("timedelta64[s]"), [0, 60, 180], 3600.0),
    ],
)
def test_dates_and_durations(way: Any, times: np.ndarray, seconds: list[float], origin: Any) -> None:
    data = way(foreign(time=times))
    assert data.times.tolist() == seconds
    kept = data.attributes["time_origin"]
    assert kept.startswith(origin) if isinstance(origin, str) else kept == origin


def test_frames_of_dates_keep_their_distance_to_the_first(tmp_path: Path) -> None:
    times = np.array(["2001-01-01", "2001-01-02", "2001-01-03"], "datetime64[ns]")
    foreign(time=times).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    part = read(tmp_path / "a.nc", frames=slice(1, None))
    assert part.times.tolist() == [86400, 172800]
    assert part.attributes["time_origin"].startswith("2001-01-01")


def test_other_calendars_and_named_units_of_time() -> None:
    dates = np.empty(2, dtype=object)
    dates[:] = [datetime(1, 1, 1), datetime(1, 1, 2)]  # cftime's differ as these do, in seconds
    variable = xarray.Variable("time", np.zeros(2))
    variable._data = dates
    assert times_of(variable)[0].tolist() == [0.0, 86400.0]  # type: ignore[arg-type]
    assert times_of(variable)[1] == {"time_origin": "0001-01-01 00:00:00"}  # type: ignore[arg-type]
    hours = xarray.DataArray([0.0, 2.0], dims="time", attrs={"units": "h"})
    assert times_of(hours)[0].tolist() == [0.0, 2.0]
    assert times_of(hours)[1] == {"time_units": "h"}


def test_what_is_not_read_is_named(way: Any) -> None:
    more = foreign(region=("environment", ["north", "south"])).assign(
        depth=("x", X), label=(LEAD, np.full((2, 1, 3), "a"))
    )
    data = way(more)
    assert sorted(data.attributes["not_read"]) == ["depth", "label", "region"]
    assert [c.name for c in data.channels] == ["u"]
    assert [p.name for p in data.parameter_specs] == ["nu"]


def test_masks_of_some_channels(way: Any) -> None:
    holes = foreign()
    holes = holes.assign(v=holes["u"] + 1, u_observed=holes["u"] > 0.5, ice_observed=holes["u"])
    data = way(holes)
    assert [c.name for c in data.channels] == ["ice_observed", "u", "v"]  # no mask: there is no "ice"
    assert np.array_equal(data.mask[:, :, :, 1].numpy(), STATES > 0.5)
    assert bool(data.mask[:, :, :, [0, 2]].all())


def test_origins_and_odd_numbers_come_back(tmp_path: Path) -> None:
    data = from_xarray(foreign().astype({"u": ">f4"}))
    assert data.states.dtype == torch.float32
    for suffix in (".nc", ".zarr"):
        back = load(save(data, tmp_path / f"a{suffix}"))
        assert torch.equal(back.states, data.states)
        assert (back.grid, back.attributes) == (data.grid, data.attributes)
    # Every second cell: the attribute is of the whole, and says something else.
    with pytest.raises(DataError, match=r"1 apart, but their attribute spacing is 0\.5"):
        from_xarray(to_xarray(data).isel(x=slice(None, None, 2)))
