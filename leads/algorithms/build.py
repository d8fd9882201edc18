"""From a name to a model."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import torch

from leads.adapters import MakeBackbone
from leads.backbones import Backbone, backbones
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.errors import SettingsError
from leads.registry import Registry, nearest
from leads.trajectories import Trajectories

#: ``(make_backbone, environments, **settings) -> DecomposedDynamics``
Algorithm = Callable[..., DecomposedDynamics]
#: What no user gives: the first arguments of makers, and those passed on.
_GIVEN = {"make_backbone", "environments", "state_shape", "integrator", "args", "kwargs", "settings"}
algorithms: Registry[Algorithm] = Registry("algorithm")
register = algorithms.register


def build(
    algorithm: str,
    like: EnvironmentFamily | Trajectories,
    backbone: str = "mlp",
    backbone_settings: dict[str, Any] | None = None,
    *,
    method: str = "rk4",
    substeps: int = 1,
    history: int = 1,
    memory: str = "store",
    seed: int = 0,
    **settings: Any,
) -> DecomposedDynamics:
    """Build an untrained model.

    Args:
        algorithm: a registered algorithm: ``"erm"``, ``"coda"``, ...
        like: the family or the training trajectories; gives the state's shape and the number of environments.
        backbone: a registered backbone.
        backbone_settings: its arguments, e.g. ``{"width": 128}``.
        method, substeps: the integrator; ``method="map"`` makes the network a one-step map from frame to frame.
        history: how many frames the network sees, the present one and those before it stacked on its input channels.
        memory: what rollouts keep for gradients, ``"store"``, ``"checkpoint"`` or ``"adjoint"``: see
            :class:`leads.DecomposedDynamics`.
        seed: of the initial weights; torch's global generator is left as it was.
        settings: the algorithm's own arguments, e.g. ``dim=2``.

    Raises:
        UnknownNameError, SettingsError: unknown names, or arguments that an algorithm or backbone does not take.
    """
    if not isinstance(like, EnvironmentFamily | Trajectories):
        hint = f" Did you mean leads.make({like!r})?" if isinstance(like, str) else ""
        raise SettingsError(f"build needs a family or training trajectories, got {type(like).__name__}.{hint}")
    if isinstance(like, EnvironmentFamily):
        shape, environments, name = like.system.state_shape, len(like.seen), like.name
    else:
        shape, environments = like.state_shape, like.n_environments
        name = str(like.attributes.get("family", "own data"))
    recipe = {
        "algorithm": algorithm,
        "family": name,
        "state_shape": list(shape),
        "environments": environments,
        "backbone": backbone,
        "backbone_settings": dict(backbone_settings or {}),
        "method": method,
        "substeps": substeps,
        "seed": seed,
        "settings": settings,
    }
    if history != 1:
        recipe["history"] = history
    if memory != "store":
        recipe["memory"] = memory
    return from_recipe(recipe)


def from_recipe(recipe: dict[str, Any]) -> DecomposedDynamics:
    """Build the untrained model that a recipe describes (what :attr:`DecomposedDynamics.recipe` holds)."""
    make_network, make_model = backbones[recipe["backbone"]], algorithms[recipe["algorithm"]]
    channels, *space = recipe["state_shape"]
    history = recipe.get("history", 1)
    if history < 1:
        raise SettingsError(f"history counts the frames that the network sees, at least 1, got {history}.")
    shape = (channels * history, *space)
    given = {"history": history} if history > 1 else {}
    given |= {"memory": recipe["memory"]} if "memory" in recipe else {}

    def make_backbone() -> Backbone:
        return call(make_network, f"backbone {recipe['backbone']!r}", shape, **recipe["backbone_settings"])

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe["seed"])
        model: DecomposedDynamics = call(
            make_model,
            f"algorithm {recipe['algorithm']!r}",
            make_backbone,
            recipe["environments"],
            method=recipe["method"],
            substeps=recipe["substeps"],
            **given,
            **recipe["settings"],
        )
    model.recipe = recipe
    return model


def state_shape_of(make_backbone: MakeBackbone, history: int = 1) -> tuple[int, ...]:
    """``(C, *X)`` of the data, from the network that sees so many of their frames side by side."""
    channels, *space = make_backbone().state_shape
    return (channels // history, *space)


def call(maker: Callable[..., Any], what: str, *args: Any, **settings: Any) -> Any:
    """``maker(*args, **settings)``, or a SettingsError that names ``what`` does not take the settings."""
    try:
        return maker(*args, **settings)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        if unknown:
            known = [n for n in inspect.signature(maker).parameters if n not in _GIVEN]
            raise SettingsError(
                f"The {what} does not take these settings: it has no {unknown[1]!r}. {nearest(unknown[1], known)}"
            ) from error
        raise SettingsError(f"The {what} does not take these settings: {error}.") from error


__all__ = ["Algorithm", "MakeBackbone", "algorithms", "build", "from_recipe", "register"]
