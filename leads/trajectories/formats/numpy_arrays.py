"""Plain NumPy archives with the shapes that leads has in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from leads.environments import Channel
from leads.errors import ShapeError
from leads.trajectories.formats.format import Format, Source, formats
from leads.trajectories.formats.hdf5 import floats
from leads.trajectories.formats.metadata import describe, parse
from leads.trajectories.formats.npz import array, headers, shape_of, write_archive
from leads.trajectories.trajectories import Trajectories

METADATA = "leads"


@formats.register("numpy")
class NumpyArrays(Format):
    """A ``.npz`` of ``states (E, N, T, C, *X)`` and ``times (T,)``, with ``parameters (E, P)`` and ``mask`` where there
    are such; names, units, the grid and provenance as JSON text in ``leads``. Pickled arrays are refused.

    Arrays of other names are read by saying them, e.g. ``read(path, "numpy", states="u", times="time")``.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    def recognises(self, path: Path) -> bool:
        return {"states", "times"} <= set(headers(path))

    def inspect(  # type: ignore[override]
        self,
        path: Path,
        states: str = "states",
        times: str = "times",
        parameters: str | None = None,
        mask: str | None = None,
        channels: Sequence[str] = (),
    ) -> Source:
        """Inspect a file.

        Args:
            path: the file.
            states, times: names of the arrays.
            parameters, mask: names of the arrays; by default ``parameters`` and ``mask`` where the file has them.
            channels: names of the channels.
        """
        found = headers(path)
        shape = shape_of(found, states, path)
        if len(shape) < 4:
            raise ShapeError(f"{states!r} of {path} has shape {shape}, expected (E, N, T, C, *X).")
        if shape_of(found, times, path) != shape[2:3]:
            raise ShapeError(f"{times!r} of {path} has shape {found[times][0]}, but {states!r} has T = {shape[2]}.")
        p = parameters or ("parameters" if "parameters" in found else None)
        m = mask or ("mask" if "mask" in found else None)
        if p and (len(shape_of(found, p, path)) != 2 or found[p][0][0] != shape[0]):
            raise ShapeError(f"{p!r} of {path} has shape {found[p][0]}, expected ({shape[0]}, P).")
        if m and shape_of(found, m, path) != shape:
            raise ShapeError(f"{m!r} of {path} has shape {found[m][0]}, but {states!r} has {shape}.")
        known = parse(str(array(path, METADATA)), path) if METADATA in found else None

        def load(e: np.ndarray, n: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            index = np.ix_(e, n, k)
            return floats(array(path, states)[index], f"{states!r} of {path}"), (
                array(path, m)[index].astype(bool) if m else None
            )

        return Source(
            path,
            shape,
            floats(array(path, times), f"{times!r} of {path}").astype("float64"),
            tuple(Channel(name) for name in channels) or (known.channels if known else ()),
            load,
            floats(array(path, p), f"{p!r} of {path}").astype("float64") if p else None,
            known.parameter_specs if known else (),
            known.grid if known and known.state_shape == shape[3:] else None,
            known.attributes if known else {},
        )

    def write(self, data: Trajectories, path: Path) -> None:  # type: ignore[override]
        """Write all environments."""
        arrays = {"states": data.states.numpy(), "times": data.times.numpy(), METADATA: np.array(describe(data))}
        if data.parameters is not None:
            arrays["parameters"] = data.parameters.numpy()
        if data.mask is not None:
            arrays["mask"] = data.mask.numpy()
        write_archive(path, arrays)
