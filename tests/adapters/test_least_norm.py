from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import leads
from leads.adapters import Adapter, Context
from leads.adapters.hybrid import Hybrid
from leads.adapters.least_norm import least_norm
from leads.adapters.physics import physics_of
from leads.errors import SettingsError

DAMPING, SPILL = 0.2, 0.3


class Known(Adapter):
    """A learned field that is known: damping, and a part of the oscillation that the physics should have had."""

    def init_context(self) -> Context:
        return {}

    def prepare(self, context: Context) -> Any:
        return ()

    def forward(self, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
        theta, speed = x.unbind(-1)
        return torch.stack([torch.zeros_like(theta), -DAMPING * speed - SPILL * torch.sin(theta)], -1)

    def forward_all(self, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
        return self.forward(t, x, prepared)

    def prepare_all(self, contexts: Context) -> Any:
        return ()


def data() -> leads.Trajectories:
    family = leads.make("pendulum", split="aphynity")
    x0 = family.system.sample_x0(6, __import__("numpy").random.RandomState(0))
    return leads.simulate(family.system, family.seen, x0, family.times)


def oscillation() -> Any:
    return physics_of("pendulum", {"split": "aphynity"}, terms=["oscillation"], shared={"omega0": 0.9})


@pytest.mark.parametrize("normalised", [True, False])
def test_the_oscillation_goes_back_to_the_physics(normalised: bool) -> None:
    """F_a = (v - w) sin(theta) - alpha p is smallest at v = w + alpha <p sin> / <sin^2>: a projection, by hand."""
    d = data()
    hybrid = Hybrid(oscillation(), Known(), size=1.0, normalised=normalised)
    found = least_norm(hybrid, {}, d)
    theta, speed = d.states.double().flatten(0, 2).unbind(-1)
    weight = 1 / (torch.stack([theta, speed]).norm(dim=0) + 1e-5) ** 2 if normalised else torch.ones_like(theta)
    square = 0.81 + SPILL + DAMPING * (weight * speed * theta.sin()).sum() / (weight * theta.sin() ** 2).sum()
    assert float(found.parameters["omega0"]) == pytest.approx(math.sqrt(square), rel=1e-6)
    assert found.size_before == pytest.approx(float(hybrid.learned_size({}, d).mean()), rel=1e-5)
    remains = (square - 0.81 - SPILL) * theta.sin() - DAMPING * speed
    entries = 1 if normalised else 2
    assert found.size == pytest.approx(float((weight * remains**2).mean()) / entries, rel=1e-5)
    assert found.size < found.size_before


def test_the_model_is_left_as_it_was() -> None:
    hybrid = Hybrid(oscillation(), Known(), size=1.0)
    before = {k: v.clone() for k, v in hybrid.state_dict().items()}
    least_norm(hybrid, {}, data())
    assert all(torch.equal(v, before[k]) for k, v in hybrid.state_dict().items())


def test_refusals() -> None:
    with pytest.raises(SettingsError, match="least-norm split needs"):
        least_norm(Hybrid(oscillation(), None), {}, data())
    with pytest.raises(SettingsError, match="additive"):
        least_norm(Hybrid(oscillation(), Known(), mode="residual"), {}, data())
