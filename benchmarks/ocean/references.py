"""Forecasts that learn nothing, or one number: persistence, climatology, physics with parameters that are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from data import coarse_system
from torch import Tensor

from leads.integrators import integrate
from leads.trajectories import Trajectories


def references(
    data: dict[str, Trajectories], score: Callable[[Tensor], Any], plan: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """The score of each on the test trajectories, by name."""
    test, known = data["test"], plan["physics"]
    last = test.initial[:, :, None].expand_as(test.states)
    climate = data["train"].states.mean((0, 1, 2))
    means = data["train"].parameters.mean(0).expand_as(test.parameters)  # type: ignore[union-attr]
    everything = [term.name for term in coarse_system(plan).terms]
    forecasts = {
        "climatology": climate.expand_as(test.states),
        "persistence": last,
        "damped persistence": climate + memory(data["train"], climate)[:, :, None, None] * (last - climate),
        "physics, mean parameters": physics(test, means, known["terms"], plan),
        "physics, true parameters": physics(test, test.parameters, known["terms"], plan),
        "all of the physics, true parameters": physics(test, test.parameters, everything, plan),
    }
    return {name: {"rmse_cm": score(f)} for name, f in forecasts.items()}


def memory(train: Trajectories, climate: Tensor) -> Tensor:
    """The factor of the first frame's anomaly that forecasts each frame best, ``(T, C)``, by least squares."""
    anomaly = train.states - climate
    first = anomaly[:, :, :1]
    over = (0, 1, 4, 5)
    return (anomaly * first).mean(over) / first.square().mean(over)


def physics(test: Trajectories, parameters: Tensor | None, terms: list[str], plan: dict[str, Any]) -> Tensor:
    """Terms of the coarse model, at 3 steps of rk4 a day."""
    assert parameters is not None
    system, p = coarse_system(plan), parameters[:, None].to(test.states)
    field = lambda t, x: system.partial_rhs(terms, t, x, p)
    return integrate(field, test.initial, test.times, substeps=3).movedim(0, 2)
