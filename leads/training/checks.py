"""What a training run refuses, and says so before work is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from leads.dynamics import DecomposedDynamics
from leads.errors import DivergenceError, SettingsError, ShapeError
from leads.registry import nearest
from leads.training.episodes import Episode
from leads.training.settings import TrainerSettings
from leads.trajectories import Trajectories
from leads.trajectories.trajectories import require_frames, require_trajectories


def replaced(settings: TrainerSettings | None, overrides: dict[str, Any]) -> TrainerSettings:
    """``settings`` with single ones replaced; an unknown name is answered with the nearest known ones."""
    known = TrainerSettings.__dataclass_fields__
    for name in overrides:
        if name not in known:
            raise SettingsError(f"The trainer has no setting {name!r}. {nearest(name, known)}")
    return replace(settings or TrainerSettings(), **overrides)


def check_data(model: DecomposedDynamics, train: Trajectories, valid: Trajectories | None) -> None:
    """Raise :class:`ShapeError` where data do not fit the model or each other."""
    for name, data in (("train", train), ("valid", valid)):
        if data is not None:
            require_trajectories(data, f"fit's {name}")
    shape = model.recipe.get("state_shape")
    for name, data in (("train", train), ("valid", valid)):
        if data is None:
            continue
        if shape is not None and tuple(shape) != data.state_shape:
            raise ShapeError(
                f"The {name} data have states (C, *X) = {data.state_shape}, the model was built for {tuple(shape)}."
            )
        require_frames(data, model.history, f"{name} data")
        model.source.check(data)
    if valid is not None and model.source.labelled and valid.n_environments != train.n_environments:
        raise ShapeError(
            f"The train data have {train.n_environments} environments, the valid data {valid.n_environments} (axis 0)."
        )


def backward(objective: Tensor) -> None:
    """Gradients, or an error for people where nothing has one, or contexts were found by steps that cannot be
    differentiated."""
    if not objective.requires_grad:
        raise SettingsError(
            "Nothing is left to train: the contexts are all that this model has, and its source, trained before, holds "
            "them. Train both at once (stages=1), or use an adapter with shared weights."
        )
    try:
        objective.backward()
    except RuntimeError as error:
        if "once_differentiable" in str(error) or "not implemented" in str(error):
            raise SettingsError(
                f"An operator of this model has no second derivative, which its context source asks for: {error}. "
                "Take first-order gradients (first_order=True), or another backbone."
            ) from error
        raise


def keeps_rows(model: DecomposedDynamics) -> SettingsError:
    """That a table cannot learn from fresh environments, and what can."""
    return SettingsError(
        f"{type(model.source).__name__} keeps a context for each seen environment and trains it over many steps; fresh "
        "environments come once and have none. What works on them is a source that finds contexts from the support, "
        "an inner loop (leads.contexts.InnerLoop) or an encoder, or a model without contexts. Or train on the seen "
        "environments: fresh_environments=0, environments_per_step=k."
    )


def diverged(step: str, per_environment: Tensor, episode: Episode) -> DivergenceError:
    """Which environment's loss left the finite numbers, and when."""
    e = int((~torch.isfinite(per_environment)).nonzero()[0])
    if episode.environments is not None:
        e = int(episode.environments[e])
    return DivergenceError(
        f"The rollout of environment {e} left the finite numbers at training step {step}. The best weights so far are "
        "kept. Lower the learning rate, start with a shorter horizon, or take more substeps."
    )
