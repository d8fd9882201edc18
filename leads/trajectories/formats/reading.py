"""Reading any format: files checked against each other before a state is loaded."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leads.errors import DataError, FileError, SettingsError, ShapeError
from leads.registry import nearest
from leads.trajectories.formats.format import Selection, Source, formats, indices
from leads.trajectories.grids import ORIGIN
from leads.trajectories.trajectories import Trajectories

Paths = str | Path | Sequence[str | Path]


def read(
    path: Paths,
    format: str | None = None,
    *,
    environments: Selection = None,
    trajectories: Selection = None,
    frames: slice | None = None,
    mask_nan: bool = False,
    **settings: Any,
) -> Trajectories:
    """Trajectories from files of any known format.

    Args:
        path: a file; or several, whose environments are put one after the other; or a folder of them, in the order of
            their names. In formats with one parameter set a file, a file is an environment.
        format: a name of :data:`formats`; by default what the files look like.
        environments, trajectories, frames: what to read, by default all. Nothing else is loaded (of a ``.npz``,
            whole arrays are).
        mask_nan: mark states that are NaN or infinite as not observed, in place of an error.
        settings: of the format; see the ``inspect`` of its class.

    Raises:
        UnknownNameError: no format of that name.
        FileError: a file that is missing, damaged, of no known layout, or lacks something.
        SettingsError: settings that the format does not have, or a selection of nothing.
        ShapeError, DataError: files that differ in their axes, channels, grids, times or parameters (they are named,
            with what differs), or states that are not finite.
    """
    paths = _paths(path, format)
    kind = formats[format or guess(paths[0])]()
    check_settings(kind.inspect, settings, format or "this format")
    if kind.one_each:
        paths = [paths[i] for i in indices(environments, len(paths), "environments")]
        environments = None
    sources = [kind.inspect(p, **settings) for p in paths]
    pick = [indices(trajectories, s.shape[1], "trajectories") for s in sources]
    cut = [indices(frames, s.shape[2], "frames") for s in sources]
    for i, source in enumerate(sources[1:], 1):
        _agree(sources[0], source, (len(pick[0]), len(pick[i])), (sources[0].times[cut[0]], source.times[cut[i]]))
    counts = [s.shape[0] for s in sources]
    wanted = indices(environments, sum(counts), "environments")
    owner = np.repeat(np.arange(len(sources)), counts)[wanted]
    local = np.concatenate([np.arange(c) for c in counts])[wanted]
    states: np.ndarray | None = None
    mask: np.ndarray | None = None
    for i, source in enumerate(sources):
        rows = np.flatnonzero(owner == i)
        if not rows.size:
            continue
        part, seen = source.load(local[rows], pick[i], cut[i])
        seen = _observed(part, seen, mask_nan, source.path)
        if len(rows) == len(wanted):
            states, mask = part, seen
            break
        if states is None:
            states = np.empty((len(wanted), *part.shape[1:]), dtype=part.dtype)
        states = states.astype(np.result_type(states, part), copy=False)
        if seen is not None and mask is None:
            mask = np.ones(states.shape, dtype=bool)
        states[rows] = part
        if mask is not None and seen is not None:
            mask[rows] = seen
    assert states is not None
    return _assemble(sources, states, mask, wanted, owner, sources[0].times[cut[0]])


def _assemble(
    sources: list[Source],
    states: np.ndarray,
    mask: np.ndarray | None,
    wanted: np.ndarray,
    owner: np.ndarray,
    times: np.ndarray,
) -> Trajectories:
    first = sources[0]
    parameters = None
    if first.parameters is not None:
        parameters = np.concatenate([s.parameters for s in sources if s.parameters is not None])[wanted]
    used = [sources[i] for i in dict.fromkeys(owner.tolist())]
    return Trajectories(
        torch.from_numpy(np.ascontiguousarray(states)),
        torch.from_numpy(np.array(times, dtype="float64")),
        None if parameters is None else torch.from_numpy(np.array(parameters, dtype="float64")),
        None if mask is None else torch.from_numpy(np.ascontiguousarray(mask)),
        channels=first.channels,
        parameter_specs=first.parameter_specs,
        grid=first.grid,
        attributes={k: v for k, v in first.attributes.items() if all(s.attributes.get(k) == v for s in used)},
    )


def _paths(path: Paths, format: str | None) -> list[Path]:
    if not isinstance(path, str | Path):
        paths = [Path(p) for p in path]
        if not paths:
            raise FileError("No files were given to read.")
    else:
        folder = Path(path)
        known = formats[format].suffixes if format else suffixes()
        if folder.is_dir() and folder.suffix not in suffixes():
            paths = sorted(p for p in folder.iterdir() if p.suffix in known and not p.name.startswith("."))
            if not paths:
                raise FileError(f"The folder {folder} has no files that end in {', '.join(known)}.")
        else:
            paths = [folder]
    for p in paths:
        if not p.exists():
            raise FileError(f"There is no file at {p}.")
    return paths


def suffixes() -> tuple[str, ...]:
    """All endings that some format has."""
    return tuple(dict.fromkeys(s for name in formats for s in formats[name].suffixes))


def guess(path: Path) -> str:
    """Name of the format of a file, by its suffix and what is in it.

    Raises:
        FileError: the suffix is unknown, or what is in the file is.
    """
    candidates = [name for name in formats if path.suffix in formats[name].suffixes]
    if not candidates:
        raise FileError(f"No format has files like {path.name!r}. {nearest(path.suffix, suffixes())}")
    for name in candidates:
        if formats[name]().recognises(path):
            return name
    raise FileError(
        f"{path} is in none of the layouts {', '.join(candidates)}. Name the format that it should be in, e.g. "
        f"format={candidates[0]!r}, to hear what it lacks."
    )


def check_settings(function: Any, settings: dict[str, Any], name: str) -> None:
    """Raise :class:`SettingsError` for settings that a format does not take."""
    known = list(inspect.signature(function).parameters)
    known = [k for k in known if k not in ("path", "data")]
    for key in settings:
        if key not in known:
            raise SettingsError(f"{name} has no setting {key!r}. {nearest(key, known)}")


def _observed(states: np.ndarray, mask: np.ndarray | None, mask_nan: bool, path: Path) -> np.ndarray | None:
    finite = np.isfinite(states)
    if mask_nan:
        return mask if finite.all() else finite if mask is None else finite & mask
    bad = ~finite if mask is None else ~finite & mask
    if not bad.any():
        return mask
    e, n, k = np.argwhere(bad)[0][:3]
    raise DataError(
        f"States read from {path} contain NaN or infinite values, first in environment {e}, trajectory {n}, frame {k} "
        "of what was chosen. Choose others, or pass mask_nan=True to mark them as not observed."
    )


def _agree(a: Source, b: Source, counts: tuple[int, int], times: tuple[np.ndarray, np.ndarray]) -> None:
    """Raise unless two files can stand side by side."""
    where = f"{a.path} and {b.path} cannot be read together:"
    if a.shape[3:] != b.shape[3:]:
        raise ShapeError(f"{where} their states have shapes (C, *X) = {a.shape[3:]} and {b.shape[3:]}.")
    if counts[0] != counts[1]:
        raise ShapeError(
            f"{where} they have {counts[0]} and {counts[1]} trajectories. Take as many of each, e.g. "
            f"trajectories=slice(0, {min(counts)})."
        )
    if len(times[0]) != len(times[1]):
        shorter = min(len(t) for t in times)
        raise ShapeError(
            f"{where} they have {len(times[0])} and {len(times[1])} frames. Take as many of each, e.g. "
            f"frames=slice(0, {shorter})."
        )
    if not _close(*times):
        k = int(np.argmax(np.abs(times[0] - times[1])))
        raise DataError(f"{where} their times differ, e.g. {times[0][k]:g} and {times[1][k]:g} at frame {k}.")
    units = [[(c.name, c.unit) for c in s.channels] for s in (a, b)]
    if units[0] != units[1]:
        raise DataError(f"{where} their channels (with units) are {units[0]} and {units[1]}.")
    names = [[(p.name, p.unit) for p in s.parameter_specs] for s in (a, b)]
    if names[0] != names[1] or (a.parameters is None) != (b.parameters is None):
        raise DataError(f"{where} their parameters (with units) are {names[0]} and {names[1]}.")
    if a.parameters is not None and b.parameters is not None and a.parameters.shape[1] != b.parameters.shape[1]:
        raise DataError(f"{where} they have {a.parameters.shape[1]} and {b.parameters.shape[1]} parameters.")
    _same_grid(a, b, where)


def _same_grid(a: Source, b: Source, where: str) -> None:
    if a.grid is None or b.grid is None:
        if a.grid is not b.grid:
            raise DataError(f"{where} only one of them has a grid.")
        return
    zero = [0.0] * len(a.grid.shape)
    origins = np.array([s.attributes.get(ORIGIN, zero) for s in (a, b)], dtype="float64")
    step = np.array(a.grid.spacing)
    if not _close(step, np.array(b.grid.spacing)) or bool((abs(origins[0] - origins[1]) > 1e-3 * step).any()):
        raise DataError(
            f"{where} their grids differ: spacing {a.grid.spacing} and {b.grid.spacing}, first cell at "
            f"{origins[0].tolist()} and {origins[1].tolist()}. Interpolate one onto the other."
        )
    kinds = [(s.grid.axes, s.grid.unit, s.grid.periodic) for s in (a, b) if s.grid is not None]
    if kinds[0] != kinds[1]:
        raise DataError(f"{where} their grids (axes, unit, periodic) are {kinds[0]} and {kinds[1]}.")


def _close(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal up to the rounding of float32."""
    return bool((np.abs(a - b) <= 1e-6 * np.maximum(np.abs(a), np.abs(b))).all())
