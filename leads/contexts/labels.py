"""What is known of environments and can guide an encoder: their parameters, or what is measured on their data."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from leads.errors import DataError, SettingsError, UnknownNameError
from leads.registry import Registry, nearest
from leads.trajectories import Trajectories

#: Trajectories of E environments -> one number each, shape ``(E,)``. A name here comes before a parameter's.
labels: Registry[Callable[[Trajectories], Tensor]] = Registry("label")

#: The velocity along an axis, by the names of axes and channels.
VELOCITY = {"x": "u", "y": "v", "z": "w"}


def labels_of(data: Trajectories, names: Sequence[str]) -> Tensor:
    """Labels of every environment, shape ``(E, L)``: registered ones, or parameters by their names.

    Raises:
        UnknownNameError: neither a registered label nor a parameter of these data.
        DataError: labels that are not finite, or data from which one cannot be had.
    """
    columns = [labels[name](data) if name in labels else _parameter(data, name) for name in names]
    values = torch.stack([c.to("cpu", torch.float64) for c in columns], 1)
    if not bool(torch.isfinite(values).all()):
        e, i = (int(k) for k in (~torch.isfinite(values)).nonzero()[0])
        raise DataError(f"The label {names[i]!r} of environment {e} is not finite.")
    return values


def _parameter(data: Trajectories, name: str) -> Tensor:
    specs = [p.name for p in data.parameter_specs]
    if data.parameters is None or name not in specs:
        raise UnknownNameError(
            f"No label or parameter of these data is named {name!r}. {nearest(name, [*labels, *specs])}"
        )
    return data.parameters[:, specs.index(name)]


def settled(data: Trajectories, names: Sequence[str]) -> tuple[str, ...]:
    """The names, with the parameter that ``varying`` means in these data in its place: in a part of them it could be
    another."""
    if data.parameters is None or not data.parameter_specs:
        return tuple(names)
    meant = data.parameter_specs[_varying_column(data.parameters)].name
    # A registered label would come before a parameter of its name.
    return tuple(meant if name == "varying" and meant not in labels else name for name in names)


def _varying_column(parameters: Tensor) -> int:
    differs = (parameters != parameters[:1]).any(0)
    return int(differs.nonzero()[0]) if bool(differs.any()) else 0


@labels.register("varying")
def varying(data: Trajectories) -> Tensor:
    """The first parameter that differs between environments."""
    if data.parameters is None:
        raise DataError(
            "The label 'varying' is a parameter, and these data come without parameters. Choose one that is measured "
            f"({', '.join(n for n in labels if n != 'varying')}), or turn supervision off (label_weight=0)."
        )
    return data.parameters[:, _varying_column(data.parameters)]


@labels.register("mean")
def mean(data: Trajectories) -> Tensor:
    """Mean of the first channel over all that was observed."""
    x = data.states[:, :, :, 0].double()
    if data.mask is not None:
        x = torch.where(data.mask[:, :, :, 0], x, torch.nan)
    return x.flatten(1).nanmean(1)


@labels.register("vorticity")
def vorticity(data: Trajectories) -> Tensor:
    """Mean modulus of the vorticity, by centred differences at inner cells.

    Raises:
        DataError: data without a plane grid of named axes (two of x, y, z), or without the velocities along them, which
            are called u, v and w.
    """
    channels, grid = [c.name for c in data.channels], data.grid
    along = [] if grid is None else [VELOCITY.get(a, "") for a in grid.axes]
    if grid is None or len(along) != 2 or any(v not in channels for v in along):
        axes = () if grid is None else grid.axes
        raise DataError(
            "The label 'vorticity' needs a grid with two of the axes x, y, z, and the channels u, v, w along them; these "
            f"data have the axes {', '.join(axes) or 'none'} and the channels {', '.join(channels) or 'without names'}."
        )
    if data.mask is not None:
        raise DataError("The label 'vorticity' needs data that are observed everywhere. Choose another label.")
    first, second = (data.states[:, :, :, channels.index(v)].double() for v in along)
    h, g = grid.spacing
    across = (first[..., 1:-1, 2:] - first[..., 1:-1, :-2]) / (2 * g)
    down = (second[..., 2:, 1:-1] - second[..., :-2, 1:-1]) / (2 * h)
    return (across - down).abs().flatten(1).mean(1)


def check_names(names: str | Sequence[str]) -> tuple[str, ...]:
    """Label names as a tuple.

    Raises:
        SettingsError: none, or something that is no name.
    """
    chosen = (names,) if isinstance(names, str) else tuple(names)
    if not chosen or not all(isinstance(n, str) and n for n in chosen):
        raise SettingsError(
            f"Give at least one label: the name of a parameter or one of {', '.join(labels)}; got {names!r}."
        )
    return chosen
