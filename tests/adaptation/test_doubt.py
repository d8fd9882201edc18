"""When a single solve is doubted, and what the second one does about it."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from damped_oscillator import SEEN, observe, oscillator
from scipy.stats import chi2

import leads
from leads.adaptation.doubt import OPEN, POOR, noise_bound, open_directions, poor_fits
from leads.dynamics import DecomposedDynamics

TRUTH = torch.tensor([[1.3, 0.15], [2.2, 0.25]], dtype=torch.float64)
X0 = torch.tensor([[[1.0, 0.0]], [[0.5, 0.5]]], dtype=torch.float64)
PLAIN = {"starts": 1, "prior": 0.0}


def masked(data: leads.Trajectories, mask: torch.Tensor) -> leads.Trajectories:
    return replace(data, states=data.states.where(mask, torch.nan), mask=mask)


def test_the_noise_bound_is_the_quantile_of_chi_squared() -> None:
    freedom = torch.tensor([0.0, 2.0, 3.0, 10.0, 36.0, 1000.0], dtype=torch.float64)
    found = noise_bound(freedom)
    assert float(found[0]) == math.inf
    exact = freedom[1:].numpy() / chi2.ppf(0.05, freedom[1:].numpy())
    np.testing.assert_allclose(found[1], exact[0], rtol=0.4)  # the approximation is rough at two degrees of freedom
    np.testing.assert_allclose(found[2:], exact[1:], rtol=0.08)


def test_open_directions_by_hand() -> None:
    """A direction that was seen to vary by 2 is open where the observations leave more than 2 OPEN of it."""
    seen = torch.tensor([[4.0, 0.0], [0.0, 0.01]], dtype=torch.float64)
    deviations = (
        torch.tensor([[0.9, 0.9], [1.1, 0.9], [0.9, 1.1]], dtype=torch.float64) * OPEN * torch.tensor([2.0, 0.1])
    )
    precision = torch.diag_embed(1 / deviations.square())
    few = torch.full((3,), 19.0), torch.full((3,), 2.0)
    assert open_directions(precision, torch.ones(3), seen, *few).tolist() == [False, True, True]
    assert open_directions(precision, torch.tensor([1.5, 1.0, math.inf]), seen, *few).tolist() == [True, True, True]
    count = torch.tensor([19.0, 20.0, 19.0])  # two unknowns and ten values for each: the second is not in doubt
    assert open_directions(precision, torch.ones(3), seen, count, few[1]).tolist() == [False, False, True]
    blind = torch.tensor([[[1e9, 0.0], [0.0, 0.0]]], dtype=torch.float64)
    assert open_directions(blind, torch.ones(1), seen, few[0][:1], few[1][:1]).tolist() == [True]


def test_poor_fits_by_hand() -> None:
    states = torch.zeros(3, 1, 4, 1, dtype=torch.float64)
    states[:2, 0, :, 0] = torch.tensor([1.0, -1.0, 1.0, -1.0])  # variance 1; the third never changes
    data = leads.Trajectories(states, torch.arange(4.0))
    left = torch.tensor([1.1, 0.9, 1.0], dtype=torch.float64) * POOR
    assert poor_fits(left, None, data).tolist() == [True, False, False]
    assert poor_fits(left, torch.tensor([1.0, 1.0, 1.0]), data).tolist() == [False] * 3
    mask = torch.ones_like(states, dtype=torch.bool)
    mask[1, 0, 1::2] = False  # what is left of it is constant
    assert poor_fits(left, None, masked(data, mask)).tolist() == [True, False, False]
    many = replace(data, states=data.states.expand(-1, 300, -1, -1))  # 1,200 values
    assert poor_fits(left, None, many).tolist() == [False] * 3


def test_a_poor_minimum_is_left_by_default() -> None:
    """Few frames, and a stiffness with another number of turns between them fits best near the usual start."""
    model = oscillator(substeps=4)
    with torch.no_grad():
        model.source.values["code"][2:4] = torch.tensor([[28.0, 0.2], [32.0, 0.1]], dtype=torch.float64)
    truth = torch.tensor([[30.0, 0.1], [1.3, 0.15]], dtype=torch.float64)
    data = observe(truth, torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]], dtype=torch.float64))
    mask = torch.zeros_like(data.states, dtype=torch.bool)
    mask[:, :, ::5] = True
    data = masked(data, mask)
    plain = leads.adapt(model, data, **PLAIN)
    found = leads.adapt(model, data)
    assert plain.info["loss"][0] > 0.1
    assert "restarted" not in plain.info
    assert found.info["restarted"] == ["poor fit", None]
    torch.testing.assert_close(found.contexts["code"], truth, rtol=1e-3, atol=1e-3)
    assert torch.equal(found.contexts["code"][1], plain.contexts["code"][1])
    assert all(len(row) == 2 for row in found.info["losses"])
    assert found.info["losses"][-1][0] < 1e-5
    json.dumps(found.info)


def test_open_directions_take_the_prior_of_the_seen() -> None:
    """Two early frames say nothing of the damping: the second solve is that with the prior, in this environment alone."""
    model = oscillator()
    data = observe(TRUTH, X0, noise=0.02)
    mask = torch.ones_like(data.states, dtype=torch.bool)
    mask[0, :, 4:] = False
    data = masked(data, mask)
    found, plain = leads.adapt(model, data, noise=0.02), leads.adapt(model, data, noise=0.02, **PLAIN)
    held = leads.adapt(model, data, noise=0.02, prior="seen")
    assert found.info["restarted"] == ["open direction", None]
    code = found.contexts["code"]
    torch.testing.assert_close(code[0], held.contexts["code"][0], rtol=1e-3, atol=1e-4)
    assert torch.equal(code[1], plain.contexts["code"][1])
    assert found.covariance is not None
    assert held.covariance is not None
    torch.testing.assert_close(found.covariance[0], held.covariance[0], rtol=1e-2, atol=1e-8)
    off = lambda a: float((a.contexts["code"][0] - TRUTH[0]).abs()[1])
    assert off(found) < off(plain)


def test_no_more_observations_than_unknowns_are_no_exact_fit() -> None:
    """Residuals of nothing on two values for two unknowns do not make the context certain."""
    data = observe(TRUTH, X0)
    mask = torch.zeros_like(data.states, dtype=torch.bool)
    mask[:, :, 0], mask[:, :, 2] = True, True
    found = leads.adapt(oscillator(), masked(data, mask))
    assert found.info["restarted"] == ["open direction"] * 2
    assert found.covariance is not None
    with_first = leads.adapt(oscillator(), observe(TRUTH, X0, noise=0.02), initial="estimated")
    assert "restarted" not in with_first.info


@pytest.mark.parametrize("settings", [PLAIN, {"starts": 2}, {"starts": 1}])
def test_starts_that_are_given_are_what_is_made(settings: dict) -> None:
    data = observe(TRUTH, X0, noise=1.0)
    assert leads.adapt(oscillator(), data, **settings).info.get("restarted") is None
    assert leads.adapt(oscillator(), data).info["restarted"] == ["poor fit"] * 2


def test_known_noise_explains_a_large_residual() -> None:
    noise = 0.2
    data = observe(TRUTH, X0, noise=noise)
    data = replace(data, states=torch.cat([observe(TRUTH, X0).states[:, :, :1], data.states[:, :, 1:]], 2))
    assert "poor fit" in leads.adapt(oscillator(), data).info["restarted"]
    assert "poor fit" not in leads.adapt(oscillator(), data, noise=noise).info.get("restarted", [])


def test_outliers_are_no_reason_for_robust_losses() -> None:
    data = observe(TRUTH, X0, noise=0.01)
    states = observe(TRUTH, X0).states.clone()
    states[:, :, 1:] = data.states[:, :, 1:]
    states[:, :, 3::6] += 1.5
    data = replace(data, states=states)
    assert leads.adapt(oscillator(), data).info["restarted"] == ["poor fit"] * 2
    assert "restarted" not in leads.adapt(oscillator(), data, robust="cauchy", iterations=200).info


def test_a_model_without_seen_contexts_is_solved_once(coda: DecomposedDynamics) -> None:
    model = oscillator()
    with torch.no_grad():
        model.source.values["code"].copy_(SEEN[:1].expand(5, 2))  # all the same: nothing to draw from
    assert "restarted" not in leads.adapt(model, observe(TRUTH, X0, noise=1.0)).info
    boxed = leads.adapt(model, observe(TRUTH, X0, noise=1.0), bounds=(0.01, 5.0))
    assert boxed.info["restarted"] == ["poor fit"] * 2
