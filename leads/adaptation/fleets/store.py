"""The results of a fleet as a Zarr store, written chunk by chunk."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leads.adaptation.fleets.flags import FLAGS
from leads.contexts.flat import size
from leads.errors import FileError
from leads.trajectories import Trajectories
from leads.trajectories.store import _sync

if TYPE_CHECKING:
    from leads.adaptation.fleets.chunk import ChunkFit

ROW = "environment"
#: Starts the names of variables that hold a part of the contexts.
CONTEXT = "context/"
#: What each environment has one number of.
NUMBERS = {
    "loss": ("float64", np.nan, "mean square error; NaN where there is no fit, see failure"),
    "converged": ("bool", False, "whether the solver converged"),
    "iterations": ("int64", -1, "iterations of the solver"),
    "noise": ("float64", np.nan, "standard deviation of the residuals on the remaining degrees of freedom"),
}


def create(
    path: Path,
    context: dict[str, tuple[tuple[int, ...], str]],
    sample: Trajectories,
    n: int,
    chunk: int,
    attributes: Any,
) -> None:
    """Begin a store for ``n`` environments: all arrays, without their chunks.

    Args:
        path: of the store.
        context: shape and dtype of every entry of a context.
        sample: some of the observations, for names and units of the parameters.
        n: environments.
        chunk: of them in a file.
        attributes: of the store.
    """
    import zarr

    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    known = () if sample.parameters is None else sample.parameter_specs
    labels = {"coordinates": " ".join(sorted(p.name for p in known))} if known else {}

    def array(name: str, shape: tuple[int, ...], dtype: str, fill: Any, dims: tuple[str, ...], about: Any) -> None:
        group.create_array(
            name, shape=(n, *shape), chunks=(chunk, *shape), dtype=dtype, fill_value=fill,
            dimension_names=(ROW, *dims), attributes=about,
        )  # fmt: skip

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        group = zarr.open_group(part, mode="w", attributes=attributes)
        for name, (shape, dtype) in context.items():
            dims = tuple(f"{name}_{i}" for i in range(len(shape)))
            array(
                _file(name),
                shape,
                dtype,
                np.nan,
                dims,
                {"long_name": f"context, entry {name}", "entry": name, **labels},
            )
        d = sum(math.prod(shape) for shape, _ in context.values())
        about = {"long_name": "covariance of the flattened context", **labels}
        array("covariance", (d, d), "float64", np.nan, ("value", "other_value"), about)
        for name, (dtype, fill, text) in NUMBERS.items():
            array(name, (), dtype, fill, (), {"long_name": text, **labels})
        for name, (text, meanings) in FLAGS.items():
            flags: dict[str, Any] = {
                "long_name": text,
                "flag_values": list(range(len(meanings) + 1)),
                "flag_meanings": " ".join(("none", *meanings)),
            }
            array(name, (), "int8", 0, (), {**flags, **labels})
        for p in known:
            array(p.name, (), "float64", np.nan, (), {"long_name": p.long_name or p.name, "units": p.unit})
        os.replace(part, path)
    except (OSError, ValueError) as error:
        raise FileError(f"Could not begin {path}: {error}.") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def write_fit(path: Path, rows: range, chunk: int, fit: ChunkFit, support: Trajectories) -> None:
    """Write one chunk, and return when it is on disk.

    Raises:
        FileError: it could not be written; the store goes on from the complete chunks.
    """
    import zarr

    values = {_file(k): v for k, v in fit.contexts.items()}
    values |= {name: getattr(fit, name) for name in (*NUMBERS, *FLAGS)}
    if size(fit.contexts):
        values["covariance"] = fit.covariance
    if support.parameters is not None:
        values |= {p.name: support.parameters[:, i] for i, p in enumerate(support.parameter_specs)}
    try:
        group: Any = zarr.open_group(path, mode="r+")
        for name, value in values.items():
            group[name][rows.start : rows.stop] = value.detach().cpu().numpy()
            _sync(path / name / "c" / str(rows.start // chunk))
    except OSError as error:
        raise FileError(
            f"Could not write {path}: {error}. Complete chunks are kept: make room and run the same again to go on."
        ) from error


def _file(entry: str) -> str:
    """The name of the variable that holds an entry of the contexts; Zarr takes a slash for a folder."""
    return CONTEXT.replace("/", "_") + entry.replace("/", "_").replace(".", "_")
