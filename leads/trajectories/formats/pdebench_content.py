"""What a PDEBench layout finds in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from leads.errors import ShapeError
from leads.trajectories.formats.format import Load

#: PDEBench's names of the space axes, in the order of the axes of its arrays.
AXES = ("x", "y", "z")


@dataclass(frozen=True)
class Content:
    """Shape ``(1, N, T, C, *X)``, times, names of the channels, coordinates of the axes, and how to load the states."""

    shape: tuple[int, ...]
    times: np.ndarray
    names: tuple[str, ...]
    axes: dict[str, np.ndarray]
    load: Load
    attributes: dict[str, Any] = field(default_factory=dict)


def check_axes(axes: dict[str, np.ndarray], space: tuple[int, ...], what: str, path: Path) -> None:
    """Raise :class:`ShapeError` unless every axis has one coordinate a cell."""
    found = tuple(x.shape[0] if x.ndim == 1 else -1 for x in axes.values())
    if found != space:
        raise ShapeError(f"{what} of {path} has space axes {space}, its coordinates {', '.join(axes)} have {found}.")


def check_times(times: np.ndarray, frames: int, path: Path) -> np.ndarray:
    """Times of the frames: published files carry one time more than frames, which is dropped.

    Raises:
        ShapeError: any other number of times.
    """
    if times.ndim != 1 or len(times) not in (frames, frames + 1):
        raise ShapeError(f"{path} has {frames} frames but times of shape {times.shape}; expected ({frames},).")
    return times[:frames].astype("float64")
