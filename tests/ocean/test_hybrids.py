"""The two-layer model as the known half of a hybrid: parameters known, adapted, shared; terms off; the least learned part."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import Tensor, nn

import leads
from leads.adapters import adapters
from leads.adapters.hybrid import Hybrid
from leads.adapters.least_norm import least_norm
from leads.adapters.physics import Physics
from leads.backbones import Backbone
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics
from leads.ocean.quasi_geostrophy import LayerHeights
from leads.ocean.units import InUnits
from leads.trajectories import Trajectories

TRUE = torch.tensor([[1.5e-11, 16e3, 0.25, 0.05, 5.787e-7], [1.1e-11, 19e3, 0.25, 0.05, 5.787e-7]], dtype=torch.float64)
SYSTEM = InUnits(LayerHeights(20, "none"), time=86400.0, state=0.05)
MOVING = ["advection", "planetary", "mean flow"]
KNOWN = {"delta": 0.25, "U": 0.05}


def data(frames: int = 4) -> Trajectories:
    x0 = SYSTEM.sample_x0(4, np.random.RandomState(0)).unflatten(0, (2, 2))
    # Initial draws are barotropic; a fortnight parts the layers.
    x0 = SYSTEM.simulate(x0, TRUE, torch.tensor([0.0, 14.0], dtype=torch.float64))[:, :, -1]
    t = torch.arange(frames, dtype=torch.float64)
    return Trajectories(SYSTEM.simulate(x0, TRUE, t), t, TRUE)


def alone(substeps: int = 2, **settings: object) -> DecomposedDynamics:
    hybrid = Hybrid(Physics(SYSTEM, **settings), None)  # type: ignore[arg-type]
    return DecomposedDynamics(hybrid.double(), Table(hybrid, 2), substeps=substeps).double()


def test_given_parameters_forecast_as_the_model_does() -> None:
    truth = data()
    names = ["beta", "rd", "delta", "U", "rek"]
    forecast = leads.adapt(alone(given=names), truth).forecast(truth.initial, truth.times)
    error = (forecast - truth.states)[:, :, -1].norm() / truth.states[:, :, -1].norm()
    # Runge-Kutta steps of 12 hours against the model's own exponential ones.
    assert float(error) < 1e-4
    without = leads.adapt(
        alone(terms=MOVING, given=["beta", "rd"], fixed=KNOWN), truth
    ).forecast(truth.initial, truth.times)  # fmt: skip
    assert float((without - truth.states)[:, :, -1].norm() / truth.states[:, :, -1].norm()) > 1e-2


def test_parameters_of_a_region_are_found_from_a_few_days() -> None:
    truth = data()
    known = {**KNOWN, "rek": 5.787e-7}
    model = alone(fixed=known, own={"beta": 1.3e-11, "rd": 17e3})
    adapted = leads.adapt(model, truth)
    found = model.adapter.physical(adapted.contexts)  # type: ignore[operator]
    torch.testing.assert_close(found["beta"].double(), TRUE[:, 0], rtol=2e-3, atol=0)
    torch.testing.assert_close(found["rd"].double(), TRUE[:, 1], rtol=2e-3, atol=0)


class Missing(Backbone):
    """What the known half lacks: the bottom drag, and the change of the physics from (beta, rd) to others."""

    def __init__(self, start: Tensor) -> None:
        super().__init__(SYSTEM.state_shape)
        self.start, self.scale = start, nn.Parameter(torch.ones(1, dtype=torch.float64))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        whole = SYSTEM.partial_rhs([*MOVING, "drag"], t, x, TRUE[:1])
        return self.scale * (whole - SYSTEM.partial_rhs(MOVING, t, x, self.start))


def test_the_least_learned_part_is_the_drag() -> None:
    """APHYNITY's problem: of all splits of the same field, the one whose learned part is smallest."""
    truth = data().select(environments=[0])
    start = {"beta": 1.2e-11, "rd": 18e3}
    first = TRUE[:1].clone()
    first[0, :2] = torch.tensor(list(start.values()), dtype=torch.float64)
    physics = Physics(SYSTEM, MOVING, KNOWN, shared=start).double()
    hybrid = Hybrid(physics, adapters["shared"](lambda: Missing(first)), size=1.0).double()
    contexts = {k: v[None] for k, v in hybrid.init_context().items()}
    # Before: the drag and all that the wrong parameters lack, by hand.
    x = truth.states.flatten(0, 2)
    zero = torch.zeros((), dtype=torch.float64)
    whole = SYSTEM.partial_rhs([*MOVING, "drag"], zero, x, TRUE[:1])

    def left(p: np.ndarray) -> Tensor:
        q = TRUE[:1].clone()
        q[0, 0], q[0, 1] = p[0] * 1e-11, p[1] * 1e4
        return whole - SYSTEM.partial_rhs(MOVING, zero, x, q)

    before = float(left(np.array([1.2, 1.8])).square().mean())
    assert float(hybrid.learned_size(contexts, truth).detach()) == pytest.approx(before, rel=1e-4)
    split = least_norm(hybrid, contexts, truth)
    assert split.size_before == pytest.approx(before, rel=1e-4)
    best = scipy.optimize.least_squares(lambda p: left(p).flatten().numpy(), [1.2, 1.8], xtol=1e-12, ftol=1e-12)
    assert float(split.parameters["beta"]) == pytest.approx(best.x[0] * 1e-11, rel=1e-4)
    assert float(split.parameters["rd"]) == pytest.approx(best.x[1] * 1e4, rel=1e-4)
    assert split.size == pytest.approx(float(left(best.x).square().mean()), rel=1e-4)
    # The physics takes some of the drag over, and stays the true one within a tenth.
    drag = float(SYSTEM.partial_rhs(["drag"], zero, x, TRUE[:1]).square().mean())
    assert 0.3 * drag < split.size <= drag < before
    assert float(split.parameters["rd"]) == pytest.approx(16e3, rel=0.1)
