"""The archives of Gen-Dynamics, the collection beside Neural Context Flow (Nzoyem et al., ICLR 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
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

METADATA, PARAMETERS, MASK = "leads", "leads_parameters", "leads_mask"


@formats.register("gen_dynamics")
class GenDynamics(Format):
    """A ``.npz`` of ``X (environments, trajectories, steps, state)`` and ``t (steps,)``; one file a split (``train``,
    ``test``, ``ood_train``, ``ood_test``). Fields are flattened into the state, channels first.

    Names, units, the grid, parameters, a mask and provenance have no place in the layout: they are written as the
    further arrays ``leads`` (JSON text), ``leads_parameters`` and ``leads_mask``, which other readers pass over.
    Pickled arrays are refused.
    """

    suffixes: ClassVar[tuple[str, ...]] = (".npz",)

    def recognises(self, path: Path) -> bool:
        return {"X", "t"} <= set(headers(path))

    def inspect(  # type: ignore[override]
        self, path: Path, state_shape: Sequence[int] | None = None, channels: Sequence[str] = ()
    ) -> Source:
        """Inspect a file.

        Args:
            path: the file.
            state_shape: ``(C, *X)`` of flattened fields; by default the state is a list of channels.
            channels: names of the channels.
        """
        found = headers(path)
        shape, times = shape_of(found, "X", path), array(path, "t") if "t" in found else np.zeros(0)
        shape_of(found, "t", path)
        if len(shape) != 4:
            raise ShapeError(f"X of {path} has shape {shape}, expected (environments, trajectories, steps, state).")
        if times.ndim != 1 or len(times) != shape[2]:
            raise ShapeError(f"t of {path} has shape {times.shape}, but X has {shape[2]} steps.")
        known = parse(str(array(path, METADATA)), path) if METADATA in found else None
        one = tuple(state_shape or (known.state_shape if known else shape[3:]))
        if prod(one) != shape[3]:
            raise ShapeError(f"The state of {path} has {shape[3]} entries, which state_shape {one} cannot hold.")
        full = (*shape[:3], *one)

        def load(e: np.ndarray, n: np.ndarray, k: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
            cut = lambda x: x[np.ix_(e, n, k)].reshape(len(e), len(n), len(k), *one)  # noqa: E731
            states = cut(floats(array(path, "X"), f"X of {path}"))
            return states, cut(array(path, MASK)).astype(bool) if MASK in found else None

        return Source(
            path,
            full,
            times.astype("float64"),
            tuple(Channel(name) for name in channels) or (known.channels if known else ()),
            load,
            floats(array(path, PARAMETERS), PARAMETERS) if PARAMETERS in found else None,
            known.parameter_specs if known else (),
            known.grid if known and one == known.state_shape else None,
            known.attributes if known else {},
        )

    def write(self, data: Trajectories, path: Path) -> None:  # type: ignore[override]
        """Write all environments."""
        flat = lambda x: x.reshape(*x.shape[:3], -1).numpy()  # noqa: E731
        arrays = {"X": flat(data.states), "t": data.times.numpy(), METADATA: np.array(describe(data))}
        if data.parameters is not None:
            arrays[PARAMETERS] = data.parameters.numpy()
        if data.mask is not None:
            arrays[MASK] = flat(data.mask)
        write_archive(path, arrays)
