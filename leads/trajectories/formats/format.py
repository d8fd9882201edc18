"""What a format of files is: it inspects a file, loads what is asked for, and writes one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from leads.environments import Channel, Grid, Parameter
from leads.errors import SettingsError
from leads.registry import Registry
from leads.trajectories.trajectories import Trajectories

Selection = Sequence[int] | slice | None
#: Takes the numbers of the environments, trajectories and frames wanted; gives states ``(e, n, t, C, *X)`` and a mask.
Load = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray | None]]


@dataclass(frozen=True)
class Source:
    """What one file holds, known before any state is loaded.

    Attributes:
        path: the file.
        shape: ``(E, N, T, C, *X)``.
        times: ``(T,)``, float64.
        channels: one a channel; empty where the file was written without names.
        load: loads a part of the states.
        parameters: ``(E, P)``, float64, where known.
        parameter_specs: one a parameter; empty where the file was written without names.
        grid: where the states are fields.
        attributes: what else the file says; ``grid_origin`` is the coordinate of the first cell, one entry an axis.
    """

    path: Path
    shape: tuple[int, ...]
    times: np.ndarray
    channels: tuple[Channel, ...]
    load: Load
    parameters: np.ndarray | None = None
    parameter_specs: tuple[Parameter, ...] = ()
    grid: Grid | None = None
    attributes: dict[str, Any] = field(default_factory=dict)


class Format(ABC):
    """A layout of files. A subclass registers itself with ``@formats.register("name")`` by being in this package."""

    #: Endings of its files; the first is given to files in a folder.
    suffixes: ClassVar[tuple[str, ...]]
    #: Whether a file holds one environment, so that many environments are many files.
    one_each: ClassVar[bool] = False

    @abstractmethod
    def recognises(self, path: Path) -> bool:
        """Whether a file with one of the suffixes is in this layout, by what is in it.

        Raises:
            FileError: the file is damaged.
        """

    @abstractmethod
    def inspect(self, path: Path, *args: Any, **settings: Any) -> Source:
        """Names, shapes, times and parameters of a file, without its states."""

    @abstractmethod
    def write(self, data: Trajectories, path: Path, *args: Any, **settings: Any) -> None:
        """Write a new file; the caller moves it into place once it is whole."""


formats: Registry[type[Format]] = Registry("format")


def indices(selection: Selection, n: int, what: str) -> np.ndarray:
    """The positions among ``n`` that a selection names, as integers in its order.

    Raises:
        SettingsError: positions that do not exist, or none.
    """
    if selection is None:
        return np.arange(n)
    chosen = np.arange(n)[selection] if isinstance(selection, slice) else np.asarray(selection)
    if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
        raise SettingsError(f"{what} are chosen by a slice or a list of numbers, got {selection!r}.")
    if not chosen.size:
        raise SettingsError(f"The selection {selection!r} leaves none of the {n} {what}.")
    if chosen.min() < -n or chosen.max() >= n:
        raise SettingsError(f"There are {n} {what} (0 to {n - 1}), the selection asks for {selection!r}.")
    return chosen % n
