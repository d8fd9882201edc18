"""Trajectories from a labelled dataset of anyone's: what it says is checked, what it does not say is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from leads.environments import Channel, Grid, Parameter
from leads.errors import DataError, FileError, SettingsError, ShapeError
from leads.observation import Operator, from_description
from leads.registry import nearest
from leads.trajectories.grids import uniform_grid
from leads.trajectories.times import times_of
from leads.trajectories.trajectories import Trajectories

if TYPE_CHECKING:
    import xarray

FORMAT = 1
LEAD = ("environment", "trajectory", "time")
#: Ends the name of the variable that holds a channel's mask.
OBSERVED = "_observed"
#: The variable in which streamed sets keep the times of blow-ups; the mask of a loaded set says the same.
BLOWN = "blown_up_at"
#: The attribute that describes what made the observations, as JSON.
OPERATOR = "observation_operator"
#: The attribute that names what a dataset holds and was not read.
NOT_READ = "not_read"


def from_xarray(
    dataset: xarray.Dataset,
    *,
    units: Mapping[str, str] | None = None,
    periodic: bool | None = None,
    ignore_grid: bool = False,
) -> Trajectories:
    """Trajectories from a dataset laid out as :func:`to_xarray` does, by leads or by anyone.

    Variables with the dimensions ``(environment, trajectory, time, *axes)``, in any order, are channels, and
    ``NAME_observed`` of the same dimensions is the mask of one. Numbers along ``environment`` alone, as coordinates, are
    parameters. Both stand in the order of their names where leads did not number them. Coordinates of the space axes
    are the grid, whose first cell ``attributes["grid_origin"]`` keeps; without coordinates there is none. All else is
    named in ``attributes["not_read"]``.

    Dates and durations become seconds since the first frame, and ``attributes["time_origin"]`` keeps the first (a date
    as text, a duration in seconds). Other times are taken as they are; ``attributes["time_units"]`` keeps their
    ``units`` where they have such. The attribute ``observation_operator``, where leads wrote one, becomes ``operator``.

    Args:
        dataset: what to read.
        units: of channels, parameters and space axes whose attribute ``units`` is missing, no text or wrong, by name.
        periodic: whether the grid is; by default as its attribute ``periodic`` says, and not where it says nothing.
        ignore_grid: read no grid, e.g. where the coordinates are not uniform.

    Raises:
        ShapeError: a dimension or the coordinate ``time`` is missing, no variable is left, or variables do not share
            their axes; what is needed and what was found is said.
        DataError: a channel, parameter or axis without units; a parameter or an observed state that is not finite;
            coordinates that are not uniform or contradict their attribute ``spacing``; times that do not increase.
        SettingsError: ``units`` of something that is not read.
    """
    check_dimensions(dataset)
    names, masks, rest = sort_variables(dataset)
    axes = _axes(dataset, names)
    order = (*LEAD, *axes)
    given = [str(c) for c in dataset.coords if dataset[c].dims == ("environment",) and c != "environment"]
    rest += [c for c in given if dataset[c].dtype.kind not in "fiub"]
    given = sorted((c for c in given if c not in rest), key=lambda c: _position(dataset[c], "parameter"))
    gridded = not ignore_grid and all(a in dataset.coords for a in axes)
    unit = _units(dataset, [*names, *given, *(axes if gridded else ())], units or {})
    grid, origin = _grid(dataset, axes, unit, periodic) if gridded and axes else (None, {})
    times, clock = times_of(dataset["time"])
    attributes = _provenance(dataset) | origin | clock | ({NOT_READ: rest} if rest else {})
    states = np.stack([dataset[n].transpose(*order).values for n in names], 3)
    # Other byte orders, whole numbers and long doubles are not torch's.
    native = states.dtype.kind == "f" and states.dtype.itemsize <= 8
    states = np.ascontiguousarray(states, dtype=states.dtype.newbyteorder("=") if native else "float64")
    return Trajectories(
        torch.from_numpy(states),
        torch.from_numpy(times),
        _parameters(dataset, given),
        torch.from_numpy(_mask(dataset, names, masks, order)) if masks else None,
        channels=tuple(Channel(n, unit[n], _long_name(dataset[n])) for n in names),
        parameter_specs=tuple(_parameter(dataset[c], c, unit[c]) for c in given),
        grid=grid,
        attributes=attributes,
        operator=_operator(dataset),
    )


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Errors of a dataset that was read from a file name that."""
    try:
        yield
    except (DataError, FileError, SettingsError, ShapeError) as error:
        raise type(error)(f"{path}: {error}") from error


def check_dimensions(dataset: xarray.Dataset) -> None:
    """Raise :class:`ShapeError` unless the leading dimensions and the times of the frames are there."""
    missing = [d for d in LEAD if d not in dataset.dims]
    if missing:
        raise ShapeError(
            f"The dataset lacks the dimension(s) {', '.join(missing)}; it has {', '.join(map(str, dataset.dims)) or 'none'}. "
            "Rename or expand them, e.g. dataset.expand_dims('environment')."
        )
    if "time" not in dataset.coords or dataset["time"].dims != ("time",):
        raise ShapeError(
            "The dataset has no coordinate 'time' that says when its frames are. Add it, e.g. "
            "dataset.assign_coords(time=0.5 * np.arange(dataset.sizes['time']))."
        )


def sort_variables(dataset: xarray.Dataset) -> tuple[list[str], list[str], list[str]]:
    """Names of the channels in their order, of those that have a mask, and of variables that are neither.

    Raises:
        ShapeError: there is no channel.
    """
    able = [
        str(n) for n, v in dataset.data_vars.items() if set(LEAD) <= set(v.dims) and v.dtype.kind in "fiub"
    ]  # fmt: skip
    masks = {n + OBSERVED: n for n in able}
    names = [n for n in able if n not in masks]
    names.sort(key=lambda n: _position(dataset[n], "channel"))
    masked = [masks[str(n)] for n in dataset.data_vars if n in masks]
    rest = [str(n) for n in dataset.data_vars if n not in names and n not in masks and n != BLOWN]
    if not names:
        have = ", ".join(f"{n} {dataset[n].dims}" for n in rest) or "none"
        raise ShapeError(
            f"The dataset has no variable of numbers with the dimensions {LEAD}; its variables are {have}."
        )
    return names, [n for n in names if n in masked], rest


def _axes(dataset: xarray.Dataset, names: Sequence[str]) -> tuple[str, ...]:
    """The space axes, which all channels share."""
    axes = tuple(str(d) for d in dataset[names[0]].dims if d not in LEAD)
    for name in names:
        if set(dataset[name].dims) != {*LEAD, *axes}:
            raise ShapeError(
                f"Variables of one dataset must share their axes: {names[0]} has {dataset[names[0]].dims}, {name} has "
                f"{dataset[name].dims}. Keep those that agree, e.g. dataset[[{names[0]!r}]], or interpolate the others."
            )
    return axes


def _mask(dataset: xarray.Dataset, names: Sequence[str], masked: Sequence[str], order: tuple[str, ...]) -> np.ndarray:
    parts = []
    for name in names:
        seen = dataset[name + OBSERVED] if name in masked else dataset[name].notnull()
        if set(seen.dims) != set(order):
            raise ShapeError(f"The mask {name + OBSERVED} has the dimensions {seen.dims}, but {name} has {order}.")
        parts.append(seen.transpose(*order).values.astype(bool))
    return np.stack(parts, 3)


def _units(dataset: xarray.Dataset, names: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    for name, unit in given.items():
        if name not in names:
            raise SettingsError(f"units names {name!r}, which is not read. {nearest(str(name), names)}")
        if not isinstance(unit, str):
            raise SettingsError(
                f"The unit of {name} must be text, e.g. 'm s-1', or '1' where it has none; got {unit!r}."
            )
    found = {name: given.get(name, dataset[name].attrs.get("units")) for name in names}
    bad = [name for name, unit in found.items() if not isinstance(unit, str)]
    if bad:
        example = ", ".join(f"{name!r}: '1'" for name in bad)
        value = found[bad[0]]
        raise DataError(
            f"{', '.join(bad)} of the dataset: {'no units are given' if value is None else f'units {value!r} are no text'}."
            f" Pass units={{{example}}} with the right ones ('1' where there are none), or set "
            f"dataset[{bad[0]!r}].attrs['units']."
        )
    return {name: str(unit) for name, unit in found.items()}


def _parameters(dataset: xarray.Dataset, names: Sequence[str]) -> torch.Tensor | None:
    if not names:
        return None
    values = np.stack([dataset[n].values for n in names], -1).astype("float64")
    bad = np.argwhere(~np.isfinite(values))
    if len(bad):
        e, i = bad[0]
        raise DataError(
            f"Parameter {names[i]} of environment {e} is {values[e, i]:g}. Give its value, leave that environment out, or "
            f"leave the parameter out, e.g. dataset.drop_vars({names[i]!r})."
        )
    return torch.from_numpy(values)


def _parameter(variable: xarray.DataArray, name: str, unit: str) -> Parameter:
    low, high = (variable.attrs.get(k, d) for k, d in (("valid_min", -np.inf), ("valid_max", np.inf)))
    try:
        return Parameter(name, unit, float(low), float(high), _long_name(variable))
    except (TypeError, ValueError) as error:
        raise DataError(f"valid_min and valid_max of {name} must be numbers, got {low!r} and {high!r}.") from error


def _grid(
    dataset: xarray.Dataset, axes: tuple[str, ...], unit: Mapping[str, str], periodic: bool | None
) -> tuple[Grid, dict[str, Any]]:
    kinds = {unit[a] for a in axes}
    if len(kinds) > 1:
        raise DataError(
            f"A grid has one unit, its axes have {', '.join(f'{unit[a]} ({a})' for a in axes)}. Pass units= with one for "
            "all, or ignore_grid=True to read the states without a grid."
        )
    if periodic is None:
        periodic = all(bool(dataset[a].attrs.get("periodic", 0)) for a in axes)
    for a in axes:
        if dataset[a].dims != (a,) or dataset[a].dtype.kind not in "fiu":
            raise DataError(f"The coordinate {a} must hold one number a cell along {a}, or pass ignore_grid=True.")
    grid, origin = uniform_grid({a: dataset[a].values for a in axes}, "the dataset", kinds.pop(), periodic)
    spacing = []
    for a, found in zip(axes, grid.spacing, strict=True):
        said = dataset[a].attrs.get("spacing", found)
        try:
            said = float(said)
        except (TypeError, ValueError) as error:
            raise DataError(f"The attribute spacing of {a} must be a number, got {said!r}.") from error
        if dataset.sizes[a] > 1 and not abs(said - found) <= 1e-3 * found:
            raise DataError(
                f"The coordinates {a} are {found:g} apart, but their attribute spacing is {said:g}. Correct one of them, "
                f"e.g. del dataset[{a!r}].attrs['spacing'], or pass ignore_grid=True."
            )
        spacing.append(said)
    return Grid(grid.shape, tuple(spacing), axes, grid.unit, periodic), origin


def _provenance(dataset: xarray.Dataset) -> dict[str, Any]:
    """The attributes that leads wrote; none in files of others."""
    if "leads_format" not in dataset.attrs:
        return {}
    if dataset.attrs["leads_format"] > FORMAT:
        raise FileError("The dataset was written by a later version of leads. Update leads to read it.")
    return dict(json.loads(dataset.attrs.get("provenance", "{}")))


def _operator(dataset: xarray.Dataset) -> Operator | None:
    """The observation operator that leads wrote, if there is one."""
    described = dataset.attrs.get(OPERATOR)
    if described is None:
        return None
    try:
        return from_description(json.loads(described))
    except (ValueError, TypeError, LookupError) as error:
        raise DataError(
            f"The observation operator in the attribute {OPERATOR} cannot be made again: {error} Without it, "
            f"del dataset.attrs[{OPERATOR!r}], the data are read as they are."
        ) from error


def _position(variable: xarray.DataArray, key: str) -> tuple[int, str]:
    """Where leads put a channel or parameter; others stand by their names, since a Zarr store has no order."""
    found = variable.attrs.get(key, 0)
    return int(found) if isinstance(found, int | np.integer) else 0, str(variable.name)


def _long_name(variable: xarray.DataArray) -> str:
    return str(variable.attrs.get("long_name", ""))
