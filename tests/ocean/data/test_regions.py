"""Data sets cut into environments."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray
from ocean_files import dates, height, truth

import leads
from leads.errors import DataError, FileError, SettingsError, UnknownNameError
from leads.ocean.data import (
    Anomalies,
    Box,
    Regions,
    coriolis,
    cut,
    cut_to_zarr,
    have_public_files,
    public_file,
    read_gridded,
)
from leads.ocean.data.public import INSTALL
from leads.trajectories import load


def field(n: int = 8, ny: int = 16, nx: int = 24, **axes: float) -> xarray.Dataset:
    return read_gridded(height(n, ny=ny, nx=nx, **axes))  # columns 0..15 sea, 16..23 land


def test_windows_hold_the_values_and_the_places_of_their_cells() -> None:
    stored = height(8, ny=16, nx=24)
    w = cut(read_gridded(stored), Regions(window=8, time_unit="day"))
    assert w.trajectories.states.shape == (4, 1, 8, 1, 8, 8)
    for e, (i, j) in enumerate([(0, 0), (0, 8), (8, 0), (8, 8)]):
        want = truth(stored)[:, i : i + 8, j : j + 8].astype("float32")
        np.testing.assert_array_equal(w.trajectories.states[e, 0, :, 0].numpy(), want)
        np.testing.assert_allclose(w.latitude[e].numpy(), 30.125 + 0.25 * np.arange(i, i + 8))
        np.testing.assert_allclose(w.longitude[e].numpy(), 5.125 + 0.25 * np.arange(j, j + 8))
    assert w.trajectories.times.tolist() == list(range(8))
    assert (w.dates()[2, 0] == dates(8)).all()
    p = w.trajectories.parameters
    assert [s.name for s in w.trajectories.parameter_specs] == ["latitude", "longitude", "f", "beta", "dx", "dy"]
    torch.testing.assert_close(p[:, 0], w.latitude.mean(1))
    torch.testing.assert_close(p[:, 2], coriolis(w.latitude.mean(1)))
    assert float(p[0, 4]) == pytest.approx(6.371e6 * np.radians(0.25) * np.cos(np.radians(31.0)), rel=1e-9)
    assert w.trajectories.grid is not None
    assert w.trajectories.grid.axes == ("y", "x")
    assert w.names[0] == "31.00N 6.00E"


def test_a_coast_is_masked_and_too_much_land_is_left_out() -> None:
    w = cut(field(), Regions(window=8, stride=4, sea=0.5))
    assert sorted({float(s) for s in w.sea.double().flatten(1).mean(1)}) == [0.5, 1.0]
    seen = w.trajectories.mask
    assert seen is not None
    assert bool((seen == w.sea[:, None, None]).all())
    assert len(cut(field(), Regions(window=8, stride=4, sea=0.51))) == 9
    whole = cut(field(), Regions(window=8, packed=True, sea=0.5))
    assert len(whole) == 4
    lanes = cut(field(), Regions(window=(8, 7), packed=True, sea=0.5))
    assert len(lanes) == 4  # columns 0..6 and 7..13; the third would have 2 of 7 columns of sea


def test_seconds_by_default_and_degrees_as_windows() -> None:
    w = cut(field(), Regions(window=2.0, unit="degrees", boxes=(Box("south", 30.0, 32.05, 5.0, 9.1),)))
    assert w.names == ("south 31.00N 6.00E", "south 31.00N 8.00E")
    assert w.trajectories.times.tolist() == [86400.0 * k for k in range(8)]
    assert cut(field(), Regions(boxes=(Box("a", 30, 32.05, 5, 7.05), Box("b", 31.9, 34, 6.95, 9.1)))).names == (
        "a",
        "b",
    )


def test_a_box_across_the_date_line() -> None:
    stored = height(3, nx=24, west=178.125, land=False)
    read = read_gridded(stored)  # columns 0..7 stay, 8..23 go to -180...
    assert float(read["longitude"][0]) == pytest.approx(-179.875)
    w = cut(read, Regions(boxes=(Box("fiji", 30, 33.2, 179.0, -179.0),)))
    np.testing.assert_allclose(w.longitude[0].numpy(), 179.125 + 0.25 * np.arange(8), rtol=1e-6)
    np.testing.assert_allclose(w.trajectories.states[0, 0, :, 0].numpy(), truth(stored)[:, :, 4:12], rtol=1e-6)
    everywhere = cut(read, Regions(window=12))
    np.testing.assert_allclose(everywhere.longitude[0].numpy(), 178.125 + 0.25 * np.arange(12), rtol=1e-6)


def years(n: int, first: str = "2018-11-15") -> xarray.Dataset:
    data = field(2, ny=4, nx=6).isel(time=0, drop=True)
    days = dates(n, first)
    level = xarray.DataArray(np.arange(n, dtype="float32"), {"time": days}, ("time",))
    return (
        (data["adt"].astype("float32") * 0 + level)
        .transpose("time", ...)
        .assign_attrs(units="m")
        .to_dataset(name="adt")
        .chunk({"time": 50})
    )


def test_seasons_are_environments_or_trajectories() -> None:
    data = years(570)
    w = cut(data, Regions(window=4, seasons=("DJF", "JJA"), frames=90))
    assert [n.rsplit(" ", 1)[1] for n in w.names] == ["DJF", "JJA"]
    assert [[str(d)[:10] for d in row] for row in w.began] == [["2018-12-01", "2019-12-01"], ["2019-06-01", "NaT"]]
    day = [s.name for s in w.trajectories.parameter_specs].index("day_of_year")
    assert float(w.trajectories.parameters[0, day]) == pytest.approx(15, abs=2)
    assert float(w.trajectories.parameters[1, day]) == pytest.approx(197, abs=2)
    first = np.flatnonzero(data["time"].values == np.datetime64("2019-06-01"))[0]
    assert w.trajectories.states[1, 0, 0, 0, 0, 0] == first
    assert not bool(w.trajectories.mask[1, 1].any())
    one = cut(data, Regions(window=4, seasons=("DJF", "JJA"), frames=90, apart=False))
    assert [str(d)[:10] for d in one.began[0]] == ["2018-12-01", "2019-12-01", "2019-06-01"]
    with pytest.raises(DataError, match=r"periods of DJF have 90, 91 frames.*frames=90"):
        cut(data, Regions(window=4, seasons=("DJF",)))


def test_periods_and_overlapping_trajectories() -> None:
    w = cut(years(60, "2019-01-01"), Regions(window=4, periods=(("2019-01-10", "2019-01-31"),), frames=10, every=4))
    assert [str(d)[:10] for d in w.began[0]] == ["2019-01-10", "2019-01-14", "2019-01-18", "2019-01-22"]
    assert w.trajectories.states[0, :, 0, 0, 0, 0].tolist() == [9, 13, 17, 21]
    with pytest.raises(DataError, match=r"no frame lies in periods.*2019-01-01 to 2019-03-01"):
        cut(years(60, "2019-01-01"), Regions(window=4, periods=(("2021-01-10", "2021-01-31"),)))


def test_gaps_in_time() -> None:
    data = years(20, "2019-01-01").isel(time=[*range(8), *range(10, 20)])
    with pytest.raises(
        DataError, match=r"time: 1 gap\(s\), the first from 2019-01-08 to 2019-01-11.*gaps='fill'.*'split'"
    ):
        cut(data, Regions(window=4))
    filled = cut(data, Regions(window=4, gaps="fill"))
    assert len(filled.trajectories.times) == 20
    assert filled.trajectories.mask[0, 0, :, 0, 0, 0].tolist() == [True] * 8 + [False] * 2 + [True] * 10
    assert filled.trajectories.states[0, 0, 19, 0, 0, 0] == 19
    parts = cut(data, Regions(window=4, gaps="split", frames=4))
    assert parts.trajectories.states[0, :, 0, 0, 0, 0].tolist() == [0, 4, 10, 14]
    uneven = years(20).assign_coords(
        time=np.sort(dates(20) + np.random.default_rng(0).integers(0, 20, 20) * np.timedelta64(1, "h"))
    )
    with pytest.raises(DataError, match=r"time: frames are .* days apart.*resample"):
        cut(uneven, Regions(window=4))


def test_what_cannot_be_cut_is_said(tmp_path: Path) -> None:
    data = field()
    with pytest.raises(DataError, match=r"adt: no window is at least 80% sea; the best has 0% \(all land"):
        cut(data.isel(longitude=slice(16, 24)), Regions(window=4))
    with pytest.raises(DataError, match=r"the box Azores .*holds no cell: latitude is from 30.125 to 33.875"):
        cut(data, Regions(window=4, boxes=(Box("Azores", 36, 40, -30, -25),)))
    with pytest.raises(DataError, match=r"has 16 x 24 cells, and windows of 32 x 32"):
        cut(data, Regions(window=32))
    with pytest.raises(UnknownNameError, match=r"no variable 'adtt'"):
        cut(data, Regions(window=4, quantities=("adtt",)))
    with pytest.raises(DataError, match=r"not equally spaced"):
        cut(data.isel(latitude=[0, 1, 2, 4, 5, 7, 8, 9]), Regions(window=4))
    with pytest.raises(DataError, match=r"4 x 9, 8 x 9 cells, and environments of one set share their shape"):
        cut(data, Regions(boxes=(Box("a", 30, 31, 5, 7.3), Box("b", 31, 33, 5, 7.3))))
    with pytest.raises(DataError, match=r"time has 1 frame"):
        cut(data.isel(time=[0]), Regions(window=4))
    with pytest.raises(SettingsError, match="need a window"):
        Regions()
    with pytest.raises(UnknownNameError, match=r"No season is named 'winter'"):
        Regions(window=4, seasons=("winter",))
    with pytest.raises(SettingsError, match="south < north"):
        Box("a", 10, 5, 0, 1)
    (tmp_path / "a.zarr").mkdir()
    with pytest.raises(FileError, match="not exist yet"):
        cut_to_zarr(data, Regions(window=4), tmp_path / "a.zarr")


def test_selection_keeps_places_dates_and_values_together() -> None:
    w = cut(field(), Regions(window=8))
    part = w.select([2, 0], frames=slice(3, 6))
    assert part.names == (w.names[2], w.names[0])
    torch.testing.assert_close(part.latitude, w.latitude[[2, 0]])
    assert [str(d)[:10] for d in part.dates()[0, 0]] == ["2019-01-04", "2019-01-05", "2019-01-06"]
    assert torch.equal(part.trajectories.states[1], w.trajectories.states[0, :, 3:6])
    assert (w.between("2019-01-04", "2019-01-07").dates() == w.dates()[:, :, 3:6]).all()
    with pytest.raises(DataError, match="no frame from 2020"):
        w.between("2020-01-01")


def test_a_store_holds_what_memory_would(tmp_path: Path) -> None:
    spec = Regions(window=8, stride=4, chunks=4)
    w = cut(field(), spec)
    back = load(cut_to_zarr(field(), spec, tmp_path / "a.zarr"))
    assert torch.equal(back.states.nan_to_num(), w.trajectories.states.nan_to_num())
    assert torch.equal(back.mask, w.trajectories.mask)
    torch.testing.assert_close(back.parameters, w.trajectories.parameters)
    stored = xarray.open_zarr(tmp_path / "a.zarr", consolidated=False)
    np.testing.assert_allclose(stored["window_latitude"].values, w.latitude.numpy())
    assert stored.attrs["names"] == list(w.names)
    assert stored["adt"].chunks[0][0] == 4


def test_a_store_of_anomalies_is_adapted_to_chunk_by_chunk(tmp_path: Path) -> None:
    spec = Regions(window=8, stride=4, sea=0.5, chunks=4, time_unit="day")
    w = cut(field(), spec)
    fitted = Anomalies.fit(w, climatology="none")
    path = cut_to_zarr(field(), spec, tmp_path / "a.zarr", lambda part: fitted.of(part).apply(part))
    back = load(path)
    want = fitted.apply(w).trajectories
    torch.testing.assert_close(back.states, want.states)
    assert torch.equal(back.mask, want.mask)
    model = leads.build("coda", want, "open_conv", {"width": 2, "depth": 2}, method="map", dim=1)
    many = leads.adapt_many(model, path, tmp_path / "contexts.zarr", iterations=1, cluster=None)
    alone = leads.adapt(model, want, iterations=1)
    torch.testing.assert_close(many.adapted([3]).contexts["code"], alone.contexts["code"][3:4], rtol=1e-3, atol=1e-5)


def test_a_set_larger_than_what_is_loaded(tmp_path: Path) -> None:
    """8 MB of fields: a window of it takes less than 3 MB, and writing eight to a store, two at a time, less than 4."""
    import dask.array

    n, y, x = 60, 128, 256
    wave = dask.array.random.default_rng(0).standard_normal(
        (n, y, x), chunks=(20, 64, 64), dtype="float32"
    ) * np.float32(0.1)
    coords = {"time": dates(n), "latitude": ("latitude", 10.0 + 0.125 * np.arange(y), {"units": "degrees_north"}), "longitude": ("longitude", -60.0 + 0.125 * np.arange(x), {"units": "degrees_east"})}  # fmt: skip
    attrs = {"units": "m", "standard_name": "sea_surface_height_above_geoid"}
    path = tmp_path / "big.zarr"
    xarray.Dataset({"adt": (("time", "latitude", "longitude"), wave, attrs)}, coords).to_zarr(path, consolidated=False)
    read_gridded(path)  # whatever is imported on the way is no part of the measure
    tracemalloc.start()
    try:
        with dask.config.set(scheduler="synchronous"):
            data = read_gridded(path)
            w = cut(data, Regions(window=16, boxes=(Box("a", 20, 22.05, -40, -37.95),), probe=2))
            assert w.trajectories.states.numel() == 60 * 16 * 16
            assert tracemalloc.get_traced_memory()[1] < 3e6
            half = Box("half", 10, 17.99, -60, -44.01)
            cut_to_zarr(data, Regions(window=32, boxes=(half,), chunks=2, probe=1), tmp_path / "cut.zarr")
        assert tracemalloc.get_traced_memory()[1] < 4e6
    finally:
        tracemalloc.stop()
    stored = xarray.open_zarr(tmp_path / "cut.zarr", consolidated=False)
    assert stored.sizes["environment"] == 8
    np.testing.assert_array_equal(stored["adt"][5, 0, 7].values, data["adt"][7, 32:64, 32:64].values)


@pytest.mark.skipif(not have_public_files(), reason=f"needs real data: {INSTALL}")
def test_the_mediterranean_has_25_windows() -> None:
    data = read_gridded(public_file("mediterranean"))
    counts = {
        (n, s): len(cut(data.isel(time=slice(0, 2)), Regions(window=n, packed=True, sea=s)))
        for n, s in ((16, 0.8), (16, 1.0), (24, 0.8), (24, 1.0), (32, 0.8), (32, 1.0))
    }
    assert counts == {(16, 0.8): 57, (16, 1.0): 32, (24, 0.8): 25, (24, 1.0): 10, (32, 0.8): 12, (32, 1.0): 3}
