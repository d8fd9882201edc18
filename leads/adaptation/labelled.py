"""Forecasts of adapted models as labelled data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from leads.adaptation.adapted import Adapted
from leads.errors import DataError
from leads.trajectories import Trajectories, to_xarray
from leads.trajectories.observations import BEGAN, NAMES
from leads.trajectories.times import TIME_ORIGIN, TIME_UNITS

if TYPE_CHECKING:
    import xarray


def forecast_dataset(adapted: Adapted, support: Trajectories, times: Tensor | None = None) -> xarray.Dataset:
    """The forecast of every trajectory of ``support``, with its names, units and coordinates.

    A forecast starts from the states that the adaptation estimated, and where it estimated none from the support's first
    frames.

    Args:
        adapted: what ``adapt(model, support)`` returned.
        support: the observations that it was adapted to, or others of the same environments.
        times: shape ``(T,)``; the first is the time of the support's first frame (of the last one that the model starts
            from, where it sees past frames). The support's own times by default.

    Returns:
        One variable a channel with the dimensions ``(environment, trajectory, time, *axes)``, as
        :func:`leads.trajectories.to_xarray` lays it out: units and long names of channels, the grid's axes, parameters
        where known. Values after a divergence are NaN. Names of environments are their coordinate; where times are
        seconds since a date, ``time`` holds dates again.

    Raises:
        DataError: a first frame is not wholly observed and was not estimated. ShapeError: a support of another number
            of environments or of other states.
    """
    history = adapted.model.history
    x0 = support.first(history) if adapted.initial is None else adapted.initial
    times = support.times[history - 1 :] if times is None else times.double()
    if adapted.initial is None and not bool(torch.isfinite(x0).all()):
        e, n = (int(i) for i in (~torch.isfinite(x0)).nonzero()[0][:2])
        raise DataError(
            f"The first frame of environment {e}, trajectory {n} is not wholly observed, and a forecast starts from it. Adapt "
            "with initial='estimated'."
        )
    states = adapted.forecast(x0, times).cpu()
    finite = torch.isfinite(states)
    parameters = adapted.parameters if support.parameters is None else support.parameters
    data = Trajectories(
        torch.where(finite, states, torch.nan),
        times.cpu(),
        None if parameters is None else parameters.cpu(),
        finite,
        support.channels,
        support.parameter_specs if parameters is not None else (),
        support.grid,
        {k: v for k, v in support.attributes.items() if k not in (NAMES, BEGAN)} | {"forecast": True},
    )
    dataset = to_xarray(data)
    # The mask of a forecast says no more than its NaN do.
    dataset = dataset.drop_vars([str(n) for n in dataset.data_vars if str(n).endswith("_observed")])
    return _clock(_names(dataset, support), support)


def _names(dataset: xarray.Dataset, support: Trajectories) -> xarray.Dataset:
    names = support.attributes.get(NAMES)
    if not isinstance(names, list) or len(names) != support.n_environments:
        return dataset
    dataset = dataset.assign_coords(environment=("environment", names))
    began = support.attributes.get(BEGAN)
    if not isinstance(began, list):
        return dataset
    starts = np.array([[np.nan if v is None else v for v in row] for row in began], dtype="float64")
    return dataset.assign_coords(
        began=(("environment", "trajectory"), starts, {"long_name": "time of the first frame"})
    )


def _clock(dataset: xarray.Dataset, support: Trajectories) -> xarray.Dataset:
    """Times as they were before they became numbers."""
    unit, origin = support.attributes.get(TIME_UNITS), support.attributes.get(TIME_ORIGIN)
    if isinstance(unit, str):
        dataset["time"].attrs["units"] = unit
    if not isinstance(origin, str) or BEGAN in support.attributes:
        return dataset
    try:
        start = np.datetime64(origin, "ns")
    except ValueError:  # a calendar that NumPy does not have
        dataset["time"].attrs["units"] = f"seconds since {origin}"
        return dataset
    seconds = dataset["time"].values
    dates = start + np.round(seconds * 1e9).astype("timedelta64[ns]")
    return dataset.assign_coords(time=("time", dates, {"long_name": "time"}))
