"""Checkpoints from which a killed run resumes to the same numbers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from leads.dynamics import DecomposedDynamics
from leads.errors import CheckpointError
from leads.training.alternation import Alternation
from leads.training.files import fill, read_tensors, write_tensors
from leads.training.optimisation import WeightAverage
from leads.training.settings import TrainerSettings


def save_checkpoint(
    path: Path,
    model: DecomposedDynamics,
    optimizer: torch.optim.Adam,
    average: WeightAverage,
    turns: Alternation,
    best: dict[str, Tensor],
    state: dict[str, Any],
    settings: TrainerSettings,
) -> None:
    """Everything a run needs to go on: weights, their average, the best ones, Adam's moments, counters."""
    tensors: dict[str, Tensor] = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"best.{k}": v for k, v in best.items()}
    tensors |= {f"average.{i}": v for i, v in enumerate(average.values)}
    tensors |= {f"anchor.{i}": v for i, v in enumerate(turns.anchors)}
    for i, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{i}.{k}": v for k, v in moments.items()}
    description = {"recipe": model.recipe, "settings": asdict(settings), "state": state}
    write_tensors(path, tensors, description, "checkpoint")


def load_checkpoint(
    path: Path,
    model: DecomposedDynamics,
    optimizer: torch.optim.Adam,
    average: WeightAverage,
    turns: Alternation,
    settings: TrainerSettings,
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Restore a run in place; returns its best weights and its counters.

    Raises:
        CheckpointError: the file belongs to another model or to other settings, or cannot be read.
    """
    tensors, description = read_tensors(path, "checkpoint")
    now = TrainerSettings.__dataclass_fields__
    # A setting that came later stood at its default.
    saved = {k: f.default for k, f in now.items()} | description["settings"]
    changed = [k for k in now if _plain(saved.get(k)) != _plain(asdict(settings)[k])]
    if changed:
        pairs = ", ".join(f"{k}: {saved.get(k)} there, {asdict(settings)[k]} here" for k in changed)
        raise CheckpointError(
            f"{path} was written under other settings ({pairs}). Resume with those, or use a new run folder."
        )
    if description["recipe"] != model.recipe:
        raise CheckpointError(f"{path} belongs to another model: {description['recipe']}. Use a new run folder.")
    part = lambda prefix: {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}  # noqa: E731
    fill(model, part("model."), path)
    numbered = lambda prefix: [v for _, v in sorted(part(prefix).items(), key=lambda kv: int(kv[0]))]  # noqa: E731
    average.load(numbered("average."))
    turns.anchors = numbered("anchor.")
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in part("adam.").items():
        i, key = name.split(".", 1)
        moments.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return part("best."), description["state"]


def _plain(value: Any) -> Any:
    """Tuples as JSON brings them back."""
    return list(value) if isinstance(value, tuple) else value
