"""Observations of unequal lengths, starts and sampling, on one grid."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from leads.errors import DataError, SettingsError, ShapeError, UnknownNameError
from leads.trajectories import from_observations, to_xarray

NAN = np.nan


def same(found: torch.Tensor, expected: object) -> None:
    np.testing.assert_array_equal(found.numpy(), np.array(expected))


def test_pairs_of_unequal_times() -> None:
    """Three trajectories in two environments, worked out by hand."""
    data = from_observations(
        [
            [
                ([0.0, 1.0, 2.0], [[1, 10], [2, NAN], [3, 30]]),
                (torch.tensor([0.0, 0.5]), torch.tensor([[4.0, 40], [5, 50]])),
            ],
            (np.array([1.0, 3.0]), np.array([[6, 60], [7, 70]])),
        ],
        channels=["prey", "predator"],
        units={"prey": "kg"},
        parameters=[[0.5], [0.75]],
    )
    assert data.times.tolist() == [0, 0.5, 1, 2, 3]
    assert data.states.shape == (2, 2, 5, 2)
    same(data.states[0, 0, :, 0], [1, NAN, 2, 3, NAN])
    same(data.states[0, 0, :, 1], [10, NAN, NAN, 30, NAN])
    same(data.states[0, 1, :, 0], [4, 5, NAN, NAN, NAN])
    same(data.states[1, 0, :, 1], [NAN, NAN, 60, NAN, 70])
    assert data.mask is not None
    assert torch.equal(data.mask, torch.isfinite(data.states))
    assert not bool(data.mask[1, 1].any())  # fills up the second environment
    assert [(c.name, c.unit) for c in data.channels] == [("prey", "kg"), ("predator", "1")]
    assert data.parameters.tolist() == [[0.5], [0.75]]
    assert data.attributes["environments"] == ["0", "1"]


def test_complete_observations_have_no_mask() -> None:
    x = np.random.RandomState(0).normal(size=(2, 3, 5, 2, 4, 4))
    t = 0.1 * np.arange(5)
    data = from_observations([[(t, x[e, n]) for n in range(3)] for e in range(2)])
    assert data.mask is None
    same(data.states, x)
    same(data.times, t)


def test_align_and_rounding() -> None:
    """Times that differ by rounding alone are one; each trajectory is counted from its first observed frame."""
    t = [0.1 * 3, 0.1 * 3 + 0.1, 0.1 * 3 + 0.2]
    data = from_observations({"a": ([0, 0.1, 0.2], [1, 2, 3]), "b": (t, [NAN, 5, 6])}, align="start")
    np.testing.assert_allclose(data.times, [0, 0.1, 0.2])
    same(data.states[:, 0, :, 0], [[1, 2, 3], [5, 6, NAN]])
    assert data.attributes["began"] == [[0.0], [pytest.approx(0.4)]]
    assert data.attributes["environments"] == ["a", "b"]
    together = from_observations({"a": ([0, 0.1, 0.3], [1, 2, 3]), "b": (t, [4, 5, 6])})
    np.testing.assert_allclose(together.times, [0, 0.1, 0.3, 0.4, 0.5])


def test_data_frames() -> None:
    frame = pd.DataFrame(
        {
            "lake": ["n", "n", "s", "n", "s"],
            "run": [1, 1, 1, 2, 1],
            "time": [0.0, 1.0, 0.0, 0.0, 2.0],
            "u": [1.0, 2.0, 3.0, 4.0, NAN],
            "v": [10, 20, 30, 40, 50],
            "note": list("abcde"),
        }
    )
    data = from_observations(frame, environment="lake", trajectory="run")
    assert [c.name for c in data.channels] == ["u", "v"]
    assert data.attributes["environments"] == ["n", "s"]
    same(data.states[0, 0], [[1, 10], [2, 20], [NAN, NAN]])
    same(data.states[0, 1], [[4, 40], [NAN, NAN], [NAN, NAN]])
    same(data.states[1, 0], [[3, 30], [NAN, NAN], [NAN, 50]])
    only = from_observations(frame, channels=["v"], environment="lake", trajectory="run")
    same(only.states, data.states[..., 1:])
    parts = {k: f.drop(columns="lake") for k, f in frame.groupby("lake")}
    again = from_observations(parts, trajectory="run")
    same(again.states, data.states)


def test_dates_become_seconds() -> None:
    frame = pd.DataFrame(
        {
            "time": pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-01 12:00"], format="ISO8601"),
            "environment": [0, 0, 1],
            "u": [1, 2, 3],
        }
    )
    data = from_observations(frame)
    assert data.times.tolist() == [0, 43200, 86400]
    assert data.attributes["time_origin"].startswith("2020-01-01T00:00:00")
    same(data.states[:, 0, :, 0], [[1, NAN, 2], [NAN, 3, NAN]])
    with pytest.raises(DataError, match="Some times are dates"):
        from_observations([(frame["time"].to_numpy()[:2], [1, 2]), ([0.0, 1.0], [1, 2])])


def test_datasets() -> None:
    """Stations with times of their own, and the layout of to_xarray with its masks."""
    make = lambda t, u: xr.Dataset(
        {"u": ("time", u, {"units": "m s-1", "long_name": "speed"})}, {"time": ("time", t, {"units": "d"})}
    )
    data = from_observations({"a": make([0.0, 1.0], [1.0, 2.0]), "b": make([0.0, 0.5], [3.0, NAN])})
    same(data.states[:, 0, :, 0], [[1, NAN, 2], [3, NAN, NAN]])
    assert (data.channels[0].unit, data.channels[0].long_name) == ("m s-1", "speed")
    assert data.attributes["time_units"] == "d"
    again = from_observations(to_xarray(data))
    same(again.states, data.states)
    field = xr.Dataset({"h": (("y", "time", "x"), np.arange(12.0).reshape(3, 2, 2))}, {"time": [0.0, 1.0]})
    same(from_observations(field).states[0, 0, 1, 0], field["h"].isel(time=1).values)


@pytest.mark.parametrize(
    ("observations", "settings", "error", "match"),
    [
        ([([0, 2, 1], [1, 2, 3])], {}, DataError, "Environment 0, trajectory 0, row 2: the time 1.0 follows 2.0"),
        ({"x": [([0], [1]), ([0, 1, 1], [1, 2, 3])]}, {}, DataError, "Environment x, trajectory 1, row 2: .* twice"),
        ([([0, NAN], [1, 2])], {}, DataError, "row 1: the time is missing"),
        ([([0, 1], [1, np.inf])], {}, DataError, "row 1: a value is infinite"),
        ([([0, 1], [1, 2, 3])], {}, ShapeError, r"times need shape \(T,\)"),
        ([([0, 1], [[1], [2]]), ([0], [[1, 2]])], {}, ShapeError, "Environment 1, trajectory 0"),
        ([([0, 1], ["a", "b"])], {}, DataError, "numbers"),
        ([(["a", "b"], [1, 2])], {}, DataError, "times must be numbers"),
        ([([], [])], {}, DataError, "Environment 0, trajectory 0 is empty"),
        ([], {}, DataError, "no observations"),
        ([[]], {}, DataError, "Environment 0 has no observations"),
        (3, {}, DataError, "got int"),
        ([3], {}, DataError, "Environment 0: expected"),
        ([([0, 1], [1, 2])], {"channels": ["a", "b"]}, ShapeError, "2 channels are named"),
        ([([0, 1], [1, 2])], {"align": "end"}, SettingsError, "align"),
        ([([0, 1], [1, 2])], {"channels": ["a"], "units": {"b": "m"}}, SettingsError, "no channel"),
    ],
)
def test_bad_lists(observations: object, settings: dict, error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        from_observations(observations, **settings)


def test_bad_tables() -> None:
    frame = pd.DataFrame({"time": [0.0, 1.0, 0.5, 2.0], "lake": ["n", "s", "s", "n"], "prey": [1.0, 2.0, 3.0, 4.0]})
    with pytest.raises(DataError, match=r"Environment s, trajectory 0, row 2: the time 0.5 follows 1.0"):
        from_observations(frame, environment="lake")
    with pytest.raises(UnknownNameError, match=r"no column 'tme'.*Did you mean 'time'"):
        from_observations(frame, time="tme")
    with pytest.raises(UnknownNameError, match=r"no channel 'pray'.*Did you mean 'prey'"):
        from_observations(frame, channels=["pray"], environment="lake")
    with pytest.raises(DataError, match="'lake' holds no numbers"):
        from_observations(frame, channels=["lake"])
    one, two = frame.iloc[[0, 3]], frame.iloc[[0, 3]].rename(columns={"prey": "preys"})
    with pytest.raises(UnknownNameError, match=r"Environment 1 has no channel 'prey'.*Did you mean 'preys'"):
        from_observations([one, two])
    with pytest.raises(UnknownNameError, match="Environment 1 has the channel 'fish'"):
        from_observations([one, one.assign(fish=1.0)])
    with pytest.raises(DataError, match="no rows"):
        from_observations(frame.iloc[:0])
    with pytest.raises(DataError, match="no column of numbers"):
        from_observations(frame[["time", "lake"]])
    with pytest.raises(UnknownNameError, match="no dimension 'time'"):
        from_observations(xr.Dataset({"u": ("t", [1.0])}))


def test_duplicates_that_agree_are_merged() -> None:
    data = from_observations([([0, 1, 1, 2], [[1, NAN], [2, NAN], [NAN, 3], [4, 5]])])
    same(data.states[0, 0], [[1, NAN], [2, 3], [4, 5]])
