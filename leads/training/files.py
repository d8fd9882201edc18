"""Models on disk: safetensors with a JSON description in its header. Nothing is executed on load."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leads.dynamics import DecomposedDynamics
from leads.errors import CheckpointError, FileError, LeadsError
from leads.hidden import from_recipe
from leads.trajectories.cache import write_whole

#: Raised whenever files of earlier versions can no longer be read.
FORMAT = 1


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], description: Mapping[str, Any], kind: str) -> None:
    """Write tensors and their description to ``path``, whole or not at all.

    Raises:
        CheckpointError: the file could not be written (disk full, no permission); what was at ``path`` is untouched.
    """
    from safetensors.torch import save

    path = Path(path)
    header = {"leads": json.dumps({"format": FORMAT, "kind": kind, **description})}
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    try:
        write_whole(path, save(plain, metadata=header))
    except FileError as error:
        raise CheckpointError(str(error)) from error


def read_tensors(path: str | Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read what :func:`write_tensors` wrote.

    Raises:
        CheckpointError: a file that is missing, truncated, of another kind, or of a newer format.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"There is no file {path}.")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is truncated or not a safetensors file: {error}.") from error
    if "leads" not in header:
        raise CheckpointError(f"{path} is a safetensors file but was not written by leads.")
    try:
        description: dict[str, Any] = json.loads(header["leads"])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"The description in {path} is damaged: {error}.") from error
    if not isinstance(description, dict):
        raise CheckpointError(f"The description in {path} is damaged: it is no object with names.")
    if description.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has file format {description.get('format')}, this version of leads reads {FORMAT}. "
            "Install the version that wrote it."
        )
    if description.get("kind") != kind:
        raise CheckpointError(f"{path} holds a {description.get('kind')}, a {kind} was expected.")
    return tensors, description


def save_model(model: DecomposedDynamics, path: str | Path) -> None:
    """Save a model built by :func:`leads.build` to one safe file."""
    if not model.recipe:
        raise CheckpointError(
            "Only models made by leads.build can be saved: this one has no recipe to rebuild it from."
        )
    write_tensors(path, model.state_dict(), {"recipe": model.recipe}, "model")


def load_model(path: str | Path) -> DecomposedDynamics:
    """Load a model; the training code's configuration is not needed.

    Raises:
        CheckpointError: see :func:`read_tensors`; also when the tensors do not fit the description.
    """
    tensors, description = read_tensors(path, "model")
    return model_from(tensors, description, path)


def model_from(tensors: dict[str, Tensor], description: dict[str, Any], path: str | Path) -> DecomposedDynamics:
    """Rebuild a model from its recipe and fill in its tensors."""
    try:
        model = from_recipe(description["recipe"])
    except (LeadsError, KeyError, TypeError, ValueError, AttributeError, RuntimeError, OverflowError) as error:
        # A recipe that was written by hand can hold anything; settings of the wrong kind fail wherever they are used.
        raise CheckpointError(f"The model described in {path} cannot be rebuilt here: {error}") from error
    fill(model, tensors, path)
    return model


def fill(model: DecomposedDynamics, tensors: Mapping[str, Tensor], path: str | Path) -> None:
    """Copy tensors into a model of the same names and shapes.

    Raises:
        CheckpointError: names or shapes differ; the first difference is named.
    """
    own = model.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        if name not in tensors or name not in own:
            where = "the file" if name not in tensors else "the model"
            raise CheckpointError(f"{path} holds another model: {where} has no tensor {name!r}.")
        if own[name].shape != tensors[name].shape:
            raise CheckpointError(
                f"{path} holds another model: {name!r} has shape {tuple(tensors[name].shape)} there and "
                f"{tuple(own[name].shape)} here."
            )
    model.load_state_dict({k: torch.as_tensor(v) for k, v in tensors.items()})
