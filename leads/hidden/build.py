"""From a name and observations to a model with a hidden state."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from leads.algorithms import from_recipe as plain_from_recipe
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, SettingsError
from leads.hidden.dynamics import HiddenStateDynamics, check_frames, read_contexts
from leads.hidden.encoder import StateEncoder
from leads.observation import from_description
from leads.trajectories import Trajectories
from leads.trajectories.trajectories import require_trajectories

#: Numbers of a context up to which an encoder reads it by default.
MOST_CONTEXTS = 64


def build_hidden(
    algorithm: str,
    observed: Trajectories,
    backbone: str = "resnet",
    backbone_settings: Mapping[str, Any] | None = None,
    *,
    frames: int = 4,
    encoder: str = "resnet",
    encoder_settings: Mapping[str, Any] | None = None,
    scale: float | Sequence[float] = 1.0,
    conditioned: bool | None = None,
    method: str = "rk4",
    substeps: int = 1,
    seed: int = 0,
    **settings: Any,
) -> HiddenStateDynamics:
    """Build an untrained model of a state of which only a part is observed.

    Args:
        algorithm, backbone, backbone_settings, method, substeps, seed, settings: of the dynamics of the full state, as for
            :func:`leads.build`.
        observed: observations of the training environments, which carry their operator (:func:`leads.trajectories.observe`);
            it says what the full state is. Their mean and deviation standardise the encoder's input.
        frames: how many observations the encoder reads.
        encoder, encoder_settings: a registered backbone as its network, and the arguments of that.
        scale: size of the state's channels in their units, one for all or one each; the encoder's output is of this size.
        conditioned: whether the encoder sees the contexts; by default where they are of 1 to 64 numbers.

    Raises:
        DataError: observations without an operator, or frames that are not equally far apart.
        UnknownNameError, SettingsError: as :func:`leads.build`, also for algorithms whose context source reads whole states.
    """
    require_trajectories(observed, "build_hidden")
    if observed.operator is None:
        raise DataError(
            "These trajectories carry no observation operator, so nothing says what the full state is. Observe full states by "
            "leads.trajectories.observe(data, operator), or set it: replace(data, operator=operator.bind(layout))."
        )
    if observed.operator.output.state_shape != observed.state_shape:
        raise DataError(
            f"The operator of these trajectories gives observations {observed.operator.output.state_shape}, they are "
            f"{observed.state_shape}."
        )
    plain = {
        "algorithm": algorithm,
        "family": str(observed.attributes.get("family", "own data")),
        "state_shape": observed.operator.bound.state_shape,
        "environments": observed.n_environments,
        "backbone": backbone,
        "backbone_settings": dict(backbone_settings or {}),
        "method": method,
        "substeps": substeps,
        "seed": seed,
        "settings": settings,
    }
    hidden = {
        "operator": observed.operator.describe(),
        "frames": frames,
        "spacing": check_frames(observed),
        "encoder": encoder,
        "encoder_settings": dict(encoder_settings or {}),
        "scale": scale if isinstance(scale, int | float) else list(scale),
        "masks": observed.mask is not None,
        "conditioned": conditioned,
    }
    named = {k: plain[k] for k in ("algorithm", "family", "environments", "backbone", "seed")}
    recipe = {**named, "state_shape": observed.state_shape, "history": frames, "dynamics": plain, "hidden": hidden}
    try:
        recipe = json.loads(json.dumps(recipe))
    except TypeError as error:
        raise SettingsError(f"Settings of a model are plain values, so that files can hold them: {error}.") from error
    model = from_recipe(recipe)
    assert isinstance(model, HiddenStateDynamics)
    model.encoder.standardise(observed.states, observed.mask)
    return model


def from_recipe(recipe: dict[str, Any]) -> DecomposedDynamics:
    """The untrained model that a recipe describes, with or without a hidden state."""
    if "hidden" not in recipe:
        return plain_from_recipe(recipe)
    hidden = recipe["hidden"]
    dynamics = plain_from_recipe(recipe["dynamics"])
    operator = from_description(hidden["operator"])
    start = dynamics.adapter.init_context()
    origin = torch.cat([torch.zeros(0), *(start[name].detach().flatten() for name in read_contexts(dynamics.adapter))])
    conditioned = hidden["conditioned"]
    if conditioned is None:
        conditioned = len(origin) <= MOST_CONTEXTS
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe["seed"] + 1)
        encoder = StateEncoder(
            operator,
            hidden["frames"],
            hidden["encoder"],
            hidden["encoder_settings"],
            hidden["scale"],
            hidden["masks"],
            origin if conditioned else None,
        )
    return HiddenStateDynamics(
        dynamics.adapter,
        dynamics.source,
        encoder,
        operator,
        hidden["spacing"],
        dynamics.method,
        dynamics.substeps,
        dynamics.loss,  # type: ignore[arg-type]
        dynamics.memory,  # type: ignore[arg-type]
        recipe,
    )
