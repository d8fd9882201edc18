"""From irregular observations to a labelled forecast."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from damped_oscillator import exact, oscillator

import leads
from leads.adaptation import forecast_dataset
from leads.errors import DataError
from leads.trajectories import from_observations

CONTEXTS, X0 = {"north": (1.3, 0.15), "south": (2.2, 0.25)}, np.array([1.0, -0.5])


def table(dates: bool = False) -> pd.DataFrame:
    """Positions at irregular times, velocities missing, one frame a lake each half second or so, from closed forms."""
    parts = []
    for i, (name, context) in enumerate(CONTEXTS.items()):
        times = np.sort(np.random.RandomState(i).uniform(0, 4, 15))
        times[0] = 0.0
        states = exact(np.array(context), X0, times)
        time = pd.Timestamp("2021-06-01") + pd.to_timedelta(times, unit="s") if dates else times
        part = pd.DataFrame({"time": time, "x": states[:, 0], "v": np.nan})
        parts.append(part.assign(environment=name))
    return pd.concat(parts)


@pytest.mark.parametrize("dates", [False, True])
def test_irregular_table_to_forecast(dates: bool) -> None:
    support = from_observations(table(dates), channels=["x", "v"], units={"x": "m", "v": "m s-1"})
    adapted = leads.adapt(oscillator(), support, initial="estimated")
    np.testing.assert_allclose(adapted.contexts["code"], list(CONTEXTS.values()), rtol=1e-3, atol=1e-4)
    later = torch.linspace(0, 6, 25, dtype=torch.float64)
    found = forecast_dataset(adapted, support, later)
    assert found["x"].dims == ("environment", "trajectory", "time")
    assert found["x"].attrs["units"] == "m"
    assert list(found["environment"].values) == ["north", "south"]
    for name, context in CONTEXTS.items():
        one = found.sel(environment=name).isel(trajectory=0)
        expected = exact(np.array(context), X0, later.numpy())
        np.testing.assert_allclose(one["x"], expected[:, 0], atol=2e-3)
        np.testing.assert_allclose(one["v"], expected[:, 1], atol=2e-3)
    if dates:
        assert found["time"].values[4] == np.datetime64("2021-06-01T00:00:01")
    else:
        np.testing.assert_array_equal(found["time"], later)


def test_given_first_frames_and_aligned_starts() -> None:
    frame = table()
    frame = frame.assign(time=frame["time"] + np.where(frame["environment"] == "south", 7.0, 0.0))
    frame.loc[frame["v"].index, "v"] = 0.0
    support = from_observations(frame, align="start")
    assert support.attributes["began"] == [[0.0], [7.0]]
    adapted = leads.adapt(oscillator(), support, iterations=3)
    found = forecast_dataset(adapted, support)
    np.testing.assert_array_equal(found["began"].values[:, 0], [0.0, 7.0])
    np.testing.assert_array_equal(found["time"], support.times)
    np.testing.assert_allclose(found["x"][:, 0], adapted.forecast(support.initial, support.times)[:, 0, :, 0])


def test_a_missing_first_frame() -> None:
    support = from_observations(table(), channels=["x", "v"])
    adapted = leads.adapt(oscillator(), support, initial="estimated")
    without = leads.Adapted(adapted.model, adapted.contexts)
    with pytest.raises(DataError, match="environment 0, trajectory 0 is not wholly observed"):
        forecast_dataset(without, support)
