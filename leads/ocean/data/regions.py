"""A declarative spec of what is an environment: boxes, windows, strides, seasons, the least share of sea."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from leads.errors import SettingsError, UnknownNameError
from leads.ocean.data.windows import SECONDS
from leads.registry import nearest

#: Months of the meteorological seasons.
SEASONS = {"DJF": (12, 1, 2), "MAM": (3, 4, 5), "JJA": (6, 7, 8), "SON": (9, 10, 11)}
_GAPS = ("error", "fill", "split")


@dataclass(frozen=True)
class Box:
    """A part of the sphere in degrees, edges included; ``west > east`` crosses the date line (170 to -170)."""

    name: str
    south: float
    north: float
    west: float
    east: float

    def __post_init__(self) -> None:
        if not -90 <= self.south < self.north <= 90:
            raise SettingsError(
                f"The box {self.name} needs -90 <= south < north <= 90, got {self.south} and {self.north}."
            )


@dataclass(frozen=True)
class Regions:
    """How a data set is cut into environments.

    Attributes:
        window: rows and columns of a window, one number or two; ``None``: every box is a window.
        stride: from one window to the next; by default the window, so that none overlap.
        unit: of both, ``"cells"`` or ``"degrees"``.
        packed: place windows wherever there is enough sea, at any multiple of ``stride`` (then one cell by default), none
            over another, row by row from the south-west. A fixed raster loses what lies across its lines.
        boxes: where windows lie, from the south-west corner of each; by default everywhere.
        sea: least share of a window's cells in which every quantity was ever observed.
        quantities: which are channels, in this order; by default all.
        periods: dates ``(start, end)``, both included, between which frames count; by default all.
        seasons: of :data:`SEASONS`; frames of other months do not count.
        apart: whether each season is an environment of its own rather than trajectories of one.
        frames: of a trajectory (0: a whole period, or season of a year).
        every: frames between the starts of two trajectories; by default ``frames``.
        gaps: what to do where dates are missing: ``"error"``, ``"fill"`` (frames that are not observed) or ``"split"``
            (a trajectory ends there).
        time_unit: of the trajectories' times, ``"s"`` as in all families of leads, or ``"day"``.
        probe: frames, evenly spread, on which land is told from sea (0: all).
        chunks: windows that are loaded at once where a set is written to a store.
    """

    window: Any = None
    stride: Any = None
    unit: str = "cells"
    packed: bool = False
    boxes: tuple[Box, ...] = ()
    sea: float = 0.8
    quantities: tuple[str, ...] = ()
    periods: tuple[tuple[str, str], ...] = ()
    seasons: tuple[str, ...] = ()
    apart: bool = True
    frames: int = 0
    every: int = 0
    gaps: str = "error"
    time_unit: str = "s"
    probe: int = 0
    chunks: int = 16

    def __post_init__(self) -> None:
        for what, value, known in (
            ("unit of windows", self.unit, ("cells", "degrees")),
            ("treatment of gaps", self.gaps, _GAPS),
            ("unit of time", self.time_unit, tuple(SECONDS)),
            *(("season", s, tuple(SEASONS)) for s in self.seasons),
        ):
            if value not in known:
                raise UnknownNameError(f"No {what} is named {value!r}. {nearest(str(value), known)}")
        if self.window is None and not self.boxes:
            raise SettingsError("Regions need a window, e.g. Regions(window=24), or boxes that are windows themselves.")
        if not 0 < self.sea <= 1 or min(self.frames, self.every, self.probe) < 0 or self.frames == 1 or self.chunks < 1:
            raise SettingsError(
                f"Regions need 0 < sea <= 1, frames 0 or >= 2, every and probe >= 0, chunks >= 1; got {self}."
            )


def describe(spec: Regions) -> dict[str, Any]:
    """The spec as JSON can hold it."""
    return {k: (list(map(vars, v)) if k == "boxes" else v) for k, v in vars(spec).items()}
