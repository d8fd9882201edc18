"""Windows of the sea as environments: trajectories that know where and when they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leads.environments import Parameter
from leads.errors import DataError, ShapeError
from leads.ocean.data.geostrophy import beta, cell_sizes, coriolis
from leads.trajectories import Trajectories

#: Seconds of a unit of time.
SECONDS = {"s": 1.0, "day": 86400.0}
#: What a window's latitude says of it: the parameters of an environment.
PARAMETERS = (
    Parameter("latitude", "degrees_north", -90.0, 90.0, "latitude of the centre"),
    Parameter("longitude", "degrees_east", -360.0, 720.0, "longitude of the centre"),
    Parameter("f", "s-1", long_name="Coriolis parameter at the centre"),
    Parameter("beta", "m-1 s-1", long_name="northward gradient of the Coriolis parameter at the centre"),
    Parameter("dx", "m", 0.0, long_name="eastward distance of cells at the centre"),
    Parameter("dy", "m", 0.0, long_name="northward distance of cells"),
)


@dataclass(frozen=True)
class Windows:
    """E windows of the sea, and where and when their frames are.

    Attributes:
        trajectories: states ``(E, N, T, C, y, x)``, NaN and masked on land and where nothing was observed; parameters
            ``(E, P)`` are those of :data:`PARAMETERS`, and ``day_of_year`` where seasons are environments of their own.
        latitude, longitude: cell centres in degrees, ``(E, y)`` and ``(E, x)``, float64.
        began: dates of the first frames, ``(E, N)``, ``datetime64[ns]``; ``NaT`` for trajectories that only fill up.
        sea: ``True`` where a channel was ever observed, ``(E, C, y, x)``.
        names: of the environments.
        attributes: the files they came from, and the spec that cut them.
    """

    trajectories: Trajectories
    latitude: Tensor
    longitude: Tensor
    began: np.ndarray
    sea: Tensor
    names: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        e, n, _, c, *space = self.trajectories.states.shape
        want = {"latitude": (e, space[0]), "longitude": (e, space[-1]), "began": (e, n), "sea": (e, c, *space)}
        for name, shape in want.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise ShapeError(f"{name} of these windows needs shape {shape}, got {found}.")
        if len(self.names) != e:
            raise ShapeError(f"{len(self.names)} names are given for {e} windows.")

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        t, dates = self.trajectories, self.began[~np.isnat(self.began)]
        span = f"from {str(dates.min())[:10]}" if dates.size else "without dates"
        return (
            f"Windows(E={t.n_environments}, N={t.n_trajectories}, T={len(t.times)} {span}, channels "
            f"{[c.name for c in t.channels]}, cells {tuple(t.states.shape[4:])}, {float(self.sea.double().mean()):.0%} sea)"
        )

    @property
    def second(self) -> float:
        """Seconds of a unit of the trajectories' times."""
        return SECONDS[self.trajectories.attributes.get("time_units", "s")]

    def dates(self) -> np.ndarray:
        """Of every frame, ``(E, N, T)``, ``datetime64[ns]``."""
        seconds = self.trajectories.times.numpy() * self.second
        return self.began[:, :, None] + np.round(seconds * 1e9).astype("timedelta64[ns]")

    def select(
        self,
        environments: Sequence[int] | slice | None = None,
        trajectories: Sequence[int] | slice | None = None,
        frames: slice | None = None,
    ) -> Windows:
        """Some environments, trajectories or frames, all axes kept; times count on from where they did."""
        # Arrays take a tuple for an index of several axes.
        rows = lambda which: which if isinstance(which, slice) else list(which)  # noqa: E731
        e = slice(None) if environments is None else rows(environments)
        n = slice(None) if trajectories is None else rows(trajectories)
        names = self.names[e] if isinstance(e, slice) else tuple(self.names[i] for i in e)
        return replace(
            self,
            trajectories=self.trajectories.select(environments, trajectories, frames),
            latitude=self.latitude[e],
            longitude=self.longitude[e],
            began=self.began[e][:, n],
            sea=self.sea[e],
            names=names,
        )

    def between(self, start: str | None = None, end: str | None = None) -> Windows:
        """The frames from ``start`` to before ``end`` (dates), where all trajectories share their dates.

        Raises:
            DataError: trajectories of different dates, or no frame in between.
        """
        dates = self.dates()
        if not (dates == dates[:1, :1]).all():
            raise DataError(
                "These windows do not share their dates, so no date parts them all. Use select(trajectories=...)."
            )
        keep = np.ones(dates.shape[2], dtype=bool)
        if start is not None:
            keep &= dates[0, 0] >= np.datetime64(start)
        if end is not None:
            keep &= dates[0, 0] < np.datetime64(end)
        inside = np.flatnonzero(keep)
        if not inside.size:
            raise DataError(
                f"There is no frame from {start} to {end}; the frames are from {dates.min()} to {dates.max()}."
            )
        return self.select(frames=slice(int(inside[0]), int(inside[-1]) + 1))

    def with_states(self, states: Tensor, times: Tensor | None = None, began: np.ndarray | None = None) -> Windows:
        """The same windows with other states, e.g. a forecast ``(E, N', T', C, y, x)`` in physical units.

        NaN stands on land again, whatever the states hold there: a land value of an anomaly is a height like any other
        once the mean is added.

        Args:
            states: what to put in.
            times: ``(T',)``, from ``began`` on; those of these windows by default.
            began: dates of the first frames, ``(E, N')``; those of these windows by default.
        """
        times = self.trajectories.times if times is None else times
        began = self.began if began is None else began
        seen = self.sea[:, None, None].to(states.device) & torch.isfinite(states)
        put = torch.where(seen, states, torch.nan)
        trajectories = replace(self.trajectories, states=put, times=times.to(torch.float64), mask=seen)
        return replace(self, trajectories=trajectories, began=began)


def parameters_of(latitude: Tensor, longitude: Tensor) -> Tensor:
    """``(E, P)`` of :data:`PARAMETERS` from cell centres ``(E, y)`` and ``(E, x)``."""
    middle = latitude.mean(1)
    dx, dy = cell_sizes(middle, float((latitude[:, -1] - latitude[:, 0]).mean() / (latitude.shape[1] - 1)), float((longitude[:, -1] - longitude[:, 0]).mean() / (longitude.shape[1] - 1)))  # fmt: skip
    return torch.stack([middle, longitude.mean(1), coriolis(middle), beta(middle), dx, dy.expand_as(middle)], 1)
