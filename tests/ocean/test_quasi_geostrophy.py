"""Heights of the two layers, systems in other units, the plane: against the model they come from and published values."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

import leads
from leads.environments.equivalent_barotropic_qg import EquivalentBarotropicQG
from leads.environments.two_layer_qg import DAY, GRAVITY, TwoLayerQG
from leads.errors import DataError, SettingsError, ShapeError, UnknownNameError
from leads.ocean.beta_plane import BetaPlane
from leads.ocean.quasi_geostrophy import LayerHeights
from leads.ocean.units import InUnits
from leads.testing import check_system

P = torch.tensor([[1.5e-11, 15e3, 0.25, 0.05, 5.787e-7], [1e-11, 20e3, 2.5, 0.06, 3e-7]], dtype=torch.float64)
T0 = torch.zeros((), dtype=torch.float64)


def pair(dissipation: str = "none", size: int = 20) -> tuple[TwoLayerQG, LayerHeights, Tensor, Tensor]:
    """The model for q and for heights, and one truncated state of each, in two environments."""
    model, heights = TwoLayerQG(size, dissipation), LayerHeights(size, dissipation)  # type: ignore[arg-type]
    g = model.modes
    q = g.inverse(g.dealias * g.forward(model.sample_x0(1, np.random.RandomState(0))))
    # Initial flows are the same in both layers; here they are not.
    q = torch.stack([q[:, 0], q[:, 1].roll(3, -1)], 1).expand(2, 1, -1, -1, -1).clone()
    return model, heights, q, model.streamfunction(q, P[:, None]) * 1e-4 / GRAVITY


@pytest.mark.parametrize("dissipation", ["none", "hyperviscosity", "filter"])
def test_heights_move_as_potential_vorticity_does(dissipation: str) -> None:
    model, heights, q, h = pair(dissipation)
    t = torch.tensor([0, 5 * DAY], dtype=torch.float64)
    later = model.streamfunction(model.simulate(q, P, t), P[:, None, None]) * 1e-4 / GRAVITY
    assert float((later[:, :, 1] - h).norm() / h.norm()) > 0.1
    torch.testing.assert_close(heights.simulate(h, P, t), later, rtol=0, atol=1e-10 * float(h.abs().max()))
    published = model.streamfunction(model.simulate_published(q, P, t), P[:, None, None]) * 1e-4 / GRAVITY
    if dissipation == "filter":
        torch.testing.assert_close(
            heights.simulate_published(h, P, t), published, rtol=0, atol=1e-10 * float(h.abs().max())
        )
    # What physicists watch is the same too.
    for name, value in model.diagnostics(q, P[:, None]).items():
        torch.testing.assert_close(heights.diagnostics(h, P[:, None])[name], value, rtol=1e-9, atol=0)
    for name, value in model.energy_budget(q, P[:, None]).items():
        torch.testing.assert_close(heights.energy_budget(h, P[:, None])[name], value, rtol=1e-8, atol=1e-18)
    torch.testing.assert_close(heights.ssh(h, P[:, None]), h[..., 0, :, :], rtol=0, atol=1e-14)


def test_initial_heights_are_those_of_the_model_at_its_reference() -> None:
    model, heights = TwoLayerQG(32), LayerHeights(32)
    q, h = (s.sample_x0(1, np.random.RandomState(3)) for s in (model, heights))
    p = torch.tensor([model.reference], dtype=torch.float64)
    torch.testing.assert_close(model.ssh(q, p), h[:, 0], rtol=0, atol=1e-12)
    check_system(heights, P)


def test_other_units_are_the_same_equations() -> None:
    _, heights, _, h = pair("hyperviscosity")
    days = InUnits(heights, DAY, (0.1, 0.05), "some")
    scale = torch.tensor([0.1, 0.05], dtype=torch.float64)[:, None, None]
    y, p = h / scale, P[:, None]
    torch.testing.assert_close(days.rhs(T0, y, p), heights.rhs(T0, h, p) * DAY / scale)
    t = torch.arange(3, dtype=torch.float64)
    torch.testing.assert_close(days.simulate(y, P, t) * scale, heights.simulate(h, P, t * DAY))
    for term in heights.terms:
        one = days.partial_rhs([term.name], T0, y, p)
        torch.testing.assert_close(one, heights.partial_rhs([term.name], T0, h, p) * DAY / scale)
        torch.testing.assert_close(one, days.parts(T0, y, p)[term.name]())
    assert [c.unit for c in days.channels] == ["some", "some"]
    draws = days.sample_x0(1, np.random.RandomState(0))
    torch.testing.assert_close(draws * scale, heights.sample_x0(1, np.random.RandomState(0)))
    check_system(days, P)


def test_terms_by_hand_on_one_wave() -> None:
    _, heights, _, _ = pair()
    g, p = heights.modes, P[:1]
    beta, rd, delta, shear, rek = P[0].tolist()
    k = 3 * 2 * math.pi / 1e6
    phase = (k * g.coordinates(1)).expand(20, 20)
    f1 = 1 / (rd**2 * (1 + delta))
    f2 = delta * f1
    # Barotropic: h1 = h2, so that q_i = -k^2 psi_i in both layers.
    h = torch.stack([torch.cos(phase)] * 2)[None]
    slope = torch.stack([-k * torch.sin(phase)] * 2)[None]
    wave = heights.partial_rhs(["planetary"], T0, h, p)
    torch.testing.assert_close(wave, beta / k**2 * slope, rtol=1e-9, atol=1e-20)
    assert float(heights.partial_rhs(["advection"], T0, h, p).abs().max()) < 1e-15
    # Drag acts on q2 alone, dq2/dt = rek k^2 psi2; the inversion spreads it over both layers.
    drag = heights.partial_rhs(["drag"], T0, h, p)
    stretch = torch.tensor([[-k * k - f1, f1], [f2, -k * k - f2]], dtype=torch.float64)
    expected = torch.linalg.solve(stretch, torch.tensor([0.0, rek * k**2], dtype=torch.float64))
    torch.testing.assert_close(drag, (expected[:, None, None] * torch.cos(phase))[None], rtol=1e-9, atol=1e-20)
    # The mean current carries q1 and tilts both layers.
    rate = torch.linalg.solve(stretch, torch.tensor([shear * k**2 - f1 * shear, f2 * shear], dtype=torch.float64))
    mean = heights.partial_rhs(["mean flow"], T0, h, p)
    torch.testing.assert_close(mean, rate[:, None, None] * slope, rtol=1e-9, atol=1e-20)


def test_drag_is_all_that_drag_changes() -> None:
    """Energy lost to the term called drag is the drag of the energy budget, in both kinds of state."""
    model, heights, q, h = pair("hyperviscosity")
    for system, x in ((model, q), (heights, h)):
        energy = lambda s, system=system: sum(v for k, v in system.diagnostics(s, P[:, None]).items() if "energy" in k)
        for term, part in (("drag", "drag"), ("mean flow", "shear"), ("dissipation", "dissipation")):
            rate = system.partial_rhs([term], T0, x, P[:, None])
            lost = torch.func.jvp(energy, (x,), (rate,))[1]
            torch.testing.assert_close(lost, system.energy_budget(x, P[:, None])[part], rtol=1e-8, atol=1e-18)
        for term in ("advection", "planetary"):
            kept = torch.func.jvp(energy, (x,), (system.partial_rhs([term], T0, x, P[:, None]),))[1]
            assert float(kept.abs().max()) < 1e-9 * float(system.energy_budget(x, P[:, None])["drag"].abs().max())


def test_terms_of_the_one_layer_model() -> None:
    system = EquivalentBarotropicQG(32, "hyperviscosity")
    p = torch.tensor([[38.0, 2.7, 2e-7]], dtype=torch.float64)
    x = system.sample_x0(1, np.random.RandomState(0))
    torch.testing.assert_close(
        system.partial_rhs([term.name for term in system.terms], T0, x, p), system.rhs(T0, x, p), rtol=0, atol=1e-18
    )
    calm = p * torch.tensor([1, 1, 0.0], dtype=torch.float64)
    torch.testing.assert_close(
        system.partial_rhs(["drag"], T0, x, p), system.rhs(T0, x, p) - system.rhs(T0, x, calm), rtol=0, atol=1e-20
    )
    plane = BetaPlane(38.0)
    # Long waves go west at beta rd^2: a wave of the whole box, much longer than rd.
    wide = EquivalentBarotropicQG(128, "none")
    k = 2 * math.pi / wide.modes.lengths[0]
    h = torch.cos(k * wide.grid.coordinates(1)).expand(1, 1, 128, 128)
    rd = plane.deformation_radius(2.7)
    rate = wide.partial_rhs(["planetary"], T0, h, p)
    west = plane.long_wave_speed(rd) / (1 + (k * rd) ** 2)
    expected = west * -k * torch.sin(k * wide.grid.coordinates(1)).expand(1, 1, 128, 128)
    torch.testing.assert_close(rate, expected, rtol=1e-9, atol=1e-18)
    assert west == pytest.approx(plane.long_wave_speed(rd), rel=0.03)


@pytest.mark.parametrize(
    ("latitude", "c", "rd", "wave"), [(38, 2.7, 30.1e3, 1.63e-2), (30, 2.7, 37.0e3, None), (45, 2.2, 21.3e3, None)]
)
def test_the_plane_has_published_values(latitude: float, c: float, rd: float, wave: float | None) -> None:
    plane = BetaPlane(latitude)
    assert plane.deformation_radius(c) == pytest.approx(rd, rel=3e-3)
    assert plane.wave_speed(plane.deformation_radius(c)) == pytest.approx(c)
    if wave is not None:
        assert plane.f0 == pytest.approx(8.98e-5, rel=1e-3)
        assert plane.beta == pytest.approx(1.80e-11, rel=3e-3)
        assert plane.long_wave_speed(plane.deformation_radius(c)) == pytest.approx(wave, rel=5e-3)
    south = BetaPlane(-latitude)
    assert (south.f0, south.beta) == (-plane.f0, plane.beta)
    h = torch.randn(3, dtype=torch.float64)
    torch.testing.assert_close(south.height(south.streamfunction(h)), h)
    torch.testing.assert_close(plane.streamfunction(h), 9.81 * h / plane.f0)


def test_bad_input() -> None:
    with pytest.raises(DataError, match="too small for geostrophy"):
        BetaPlane(-2.0)
    with pytest.raises(DataError, match="between -90 and 90"):
        BetaPlane(math.nan)
    with pytest.raises(SettingsError, match="positive"):
        BetaPlane(30.0).deformation_radius(0.0)
    with pytest.raises(ShapeError, match="3 units came for the 2 channels"):
        InUnits(LayerHeights(20), state=(1, 2, 3))
    with pytest.raises(SettingsError, match="positive"):
        InUnits(LayerHeights(20), time=0)
    system = leads.make("two_layer_qg", size=24).system
    with pytest.raises(UnknownNameError, match=r"bottom drag.*drag"):
        system.partial_rhs(["bottom drag"], T0, system.sample_x0(1, np.random.RandomState(0)), P[:1])
