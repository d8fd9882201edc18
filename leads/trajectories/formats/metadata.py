"""What other projects' layouts have no place for (units, ranges, the grid, provenance), as one JSON text beside them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from leads.environments import Channel, Grid, Parameter
from leads.errors import DataError, FileError
from leads.trajectories.trajectories import Trajectories

VERSION = 1
#: Name of the text, and of all else that we add to a foreign layout.
KEY = "leads"
#: The dataset of HDF5 files that holds the mask, in the order of the channels of the data.
MASK = f"{KEY}/mask"


@dataclass(frozen=True)
class Metadata:
    """What :func:`describe` wrote.

    ``names`` are those the channels have in the file; ``channels`` and ``parameter_specs`` are empty where the data
    had none.
    """

    names: tuple[str, ...]
    state_shape: tuple[int, ...]
    channels: tuple[Channel, ...]
    parameter_names: tuple[str, ...]
    parameter_specs: tuple[Parameter, ...]
    grid: Grid | None
    attributes: dict[str, Any]


def channel_names(data: Trajectories) -> tuple[str, ...]:
    """Names of the channels, ``channel0, channel1, ...`` where they have none.

    Raises:
        DataError: a name occurs twice or holds a slash, so that it cannot name a variable of a file.
    """
    names = tuple(c.name for c in data.channels) or tuple(f"channel{i}" for i in range(data.states.shape[3]))
    return _usable(names, "channel")


def parameter_names(data: Trajectories) -> tuple[str, ...]:
    """Names of the parameters, ``parameter0, parameter1, ...`` where they have none; empty without parameters."""
    if data.parameters is None:
        return ()
    count = data.parameters.shape[1]
    names = tuple(p.name for p in data.parameter_specs)
    return _usable(names if len(names) == count else tuple(f"parameter{i}" for i in range(count)), "parameter")


def named_parameters(data: Trajectories) -> dict[str, float]:
    """Name and value of each parameter of the one environment in ``data``."""
    names = parameter_names(data)
    return {} if data.parameters is None else dict(zip(names, data.parameters[0].tolist(), strict=True))


def _usable(names: tuple[str, ...], kind: str) -> tuple[str, ...]:
    for name in names:
        if not name or "/" in name or "\0" in name or names.count(name) > 1 or name.split("_")[0] == KEY:
            raise DataError(
                f"The {kind} {name!r} cannot name a variable of a file: names must differ, and must not be empty, "
                f"hold a slash or begin with {KEY!r}. Rename it."
            )
    return names


def describe(data: Trajectories) -> str:
    """All that is known of ``data`` beside its arrays, as JSON."""
    return json.dumps(
        {
            "version": VERSION,
            "names": channel_names(data),
            "state_shape": data.state_shape,
            "channels": [asdict(c) for c in data.channels],
            "parameter_names": parameter_names(data),
            "parameter_specs": [asdict(p) for p in data.parameter_specs],
            "grid": None if data.grid is None else asdict(data.grid),
            "attributes": data.attributes,
        },
        default=str,
    )


def parse(text: str, path: Path) -> Metadata:
    """The inverse of :func:`describe`.

    Raises:
        FileError: the text is damaged or of a later version.
    """
    try:
        content = json.loads(text)
        if content["version"] > VERSION:
            raise FileError(f"{path} was written by a later version of leads. Update leads to read it.")
        grid = content["grid"]
        if grid is not None:
            shape, spacing, axes = (tuple(grid[k]) for k in ("shape", "spacing", "axes"))
            grid = Grid(shape, spacing, axes, grid["unit"], grid["periodic"])
        return Metadata(
            tuple(content["names"]),
            tuple(content["state_shape"]),
            tuple(Channel(**c) for c in content["channels"]),
            tuple(content["parameter_names"]),
            tuple(Parameter(**p) for p in content["parameter_specs"]),
            grid,
            dict(content["attributes"]),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise FileError(f"The metadata {KEY!r} of {path} are damaged: {error!r}. Write the file again.") from error
