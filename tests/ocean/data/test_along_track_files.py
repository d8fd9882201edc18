"""Along-track files in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray
from ocean_files import height, written

from leads.errors import DataError, FileError, ShapeError, UnknownNameError
from leads.ocean.data import read_along_track

SCALE = 1e-3


def track(n: int = 50, first: float = 24442.0, seed: int = 0) -> xarray.Dataset:
    """The swath layout of the 2021a challenge: 1 Hz of Cryosat-2, heights packed to millimetres."""
    random = np.random.default_rng(seed)
    millimetres = {
        k: random.integers(-300, 300, n).astype("int16")
        for k in ("sla_unfiltered", "sla_filtered", "mdt", "lwe", "dac", "ocean_tide")
    }
    millimetres["sla_unfiltered"][3] = 32767
    attrs = {"units": "m", "scale_factor": SCALE, "_FillValue": np.int16(32767)}
    return xarray.Dataset(
        {k: ("time", v, {**attrs, "long_name": k}) for k, v in millimetres.items()}
        | {"cycle": ("time", np.full(n, 7, dtype="int16")), "track": ("time", np.full(n, 123, dtype="int16"))},
        {
            "time": ("time", first + 0.9434 / 86400 * np.arange(n), {"standard_name": "time", "units": "days since 1950-01-01 00:00:00", "calendar": "gregorian"}),
            "longitude": ("time", 299.0 + 0.01 * np.arange(n), {"standard_name": "longitude", "units": "degrees_east"}),
            "latitude": ("time", 33.0 + 0.05 * np.arange(n), {"standard_name": "latitude", "units": "degrees_north"}),
        },
    )  # fmt: skip


def test_height_is_made_of_anomaly_mean_and_long_wavelength_error(tmp_path: Path) -> None:
    stored = track()
    path = written(stored, tmp_path / "dt_global_c2_phy_l3_20161201.nc")
    read = read_along_track(path)
    parts = {k: stored[k].values.astype("float64") * SCALE for k in ("sla_unfiltered", "mdt", "lwe")}
    want = parts["sla_unfiltered"] + parts["mdt"] - parts["lwe"]
    want[3] = np.nan
    np.testing.assert_allclose(read["ssh"].values, want, atol=1e-6)
    assert read["ssh"].dtype == "float32"
    assert read["ssh"].attrs["comment"] == "sla_unfiltered + mdt - lwe"
    assert read["ssh"].attrs["standard_name"] == "sea_surface_height_above_geoid"
    assert set(read["satellite"].values) == {"c2"}
    assert read["cycle"].values[0] == 7
    assert float(read["longitude"][0]) == pytest.approx(-61.0)
    assert str(read["time"].values[0])[:10] == "2016-12-02"
    step = np.diff(read["time"].values) / np.timedelta64(1, "ns") / 1e9
    np.testing.assert_allclose(step, 0.9434, atol=2e-6)


def test_satellites_are_joined_in_the_order_of_time(tmp_path: Path) -> None:
    paths = [
        written(track(20, 24442.0 + 0.0001 * k, k), tmp_path / f"dt_global_{s}_phy_l3_x.nc")
        for k, s in enumerate(("s3a", "j3"))
    ]
    read = read_along_track(paths, longitude="0..360")
    assert (np.diff(read["time"].values) >= np.timedelta64(0)).all()
    assert read.sizes["time"] == 40
    for k, s in enumerate(("s3a", "j3")):
        alone = read_along_track(paths[k])
        np.testing.assert_array_equal(read["ssh"].values[read["satellite"].values == s], alone["ssh"].values)
    assert float(read["longitude"].min()) == pytest.approx(299.0)
    filtered = read_along_track(paths[0], height="sla_filtered")
    assert filtered["ssh"].attrs["comment"] == "sla_filtered + mdt - lwe"


def test_corrections_that_are_missing_are_left_out_and_said() -> None:
    read = read_along_track(track().drop_vars(["mdt", "lwe"]))
    assert read["ssh"].attrs["comment"] == "sla_unfiltered"
    assert read["ssh"].attrs["standard_name"] == "sea_surface_height_above_sea_level"
    with pytest.raises(DataError, match=r"ssh would be made of sla_unfiltered here"):
        read_along_track([track().drop_vars(["mdt", "lwe"]), track(first=24443.0)])


def test_what_is_no_track(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"grid.nc is no track.*read_gridded"):
        read_along_track(written(height(), tmp_path / "grid.nc"))
    with pytest.raises(DataError, match=r"no coordinate latitude along its track"):
        read_along_track(track().drop_vars("latitude"))
    with pytest.raises(UnknownNameError, match=r"no sla_unfiltered; it has sla_filtered"):
        read_along_track(track().drop_vars("sla_unfiltered"))
    with pytest.raises(UnknownNameError, match=r"No height is named 'sla'"):
        read_along_track(track(), height="sla")
    bare = track()
    del bare["mdt"].attrs["units"]
    with pytest.raises(DataError, match=r"mdt has no units.*units=\{'mdt': 'm'\}"):
        read_along_track(bare)
    bare = track()
    bare["time"].attrs["calendar"] = "noleap"
    with pytest.raises(DataError, match=r"time is in the calendar 'noleap'"):
        read_along_track(bare)
    with pytest.raises(FileError, match="no file"):
        read_along_track(tmp_path / "none.nc")
