"""What is asked of observations before an adaptation starts."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from damped_oscillator import TIMES, observe, oscillator

import leads
from leads.adaptation.problem import Problem
from leads.adaptation.support import filled
from leads.adapters.pinned import Pinned
from leads.errors import DataError
from leads.trajectories import DataSplits

MODEL = oscillator()
TRUTH = torch.tensor([[1.3, 0.15], [2.2, 0.25]], dtype=torch.float64)
X0 = torch.tensor([[[1.0, 0.0], [0.3, -1.0]], [[0.5, 0.5], [1.0, 1.0]]], dtype=torch.float64)


def hidden(data: leads.Trajectories, mask: torch.Tensor) -> leads.Trajectories:
    return replace(data, states=data.states.where(mask, torch.nan), mask=mask)


def test_observations_that_say_nothing_are_refused() -> None:
    data = observe(TRUTH, X0)
    for initial in ("given", "estimated"):
        for solver in ("auto", "gradient"):
            mask = torch.ones_like(data.states, dtype=torch.bool)
            mask[1] = False
            with pytest.raises(DataError, match="Environment 1 has no observed value"):
                leads.adapt(MODEL, hidden(data, mask), initial=initial, solver=solver)
    empty = leads.Trajectories(torch.zeros(0, 1, 21, 2, dtype=torch.float64), TIMES)
    with pytest.raises(DataError, match="support is empty"):
        leads.adapt(MODEL, empty)
    with pytest.raises(DataError, match="support is empty"):
        leads.adapt(MODEL, leads.Trajectories(torch.zeros(2, 0, 21, 2, dtype=torch.float64), TIMES))
    first = torch.zeros_like(data.states, dtype=torch.bool)
    first[:, :, 0] = True
    with pytest.raises(DataError, match="no observed value after the first frame"):
        leads.adapt(MODEL, hidden(data, first))


def test_a_missing_first_frame_is_refused_where_it_is_given() -> None:
    data = observe(TRUTH, X0)
    mask = torch.ones_like(data.states, dtype=torch.bool)
    mask[1, 0, 0, 1] = False
    with pytest.raises(DataError, match=r"environment 1, trajectory 0 .*initial='estimated'"):
        leads.adapt(MODEL, hidden(data, mask))
    found = leads.adapt(MODEL, hidden(data, mask), initial="estimated")
    torch.testing.assert_close(found.initial, X0, rtol=1e-4, atol=1e-5)
    # A number in a place that is never observed, as on land, is what the rollout starts from.
    held = leads.adapt(MODEL, replace(data, mask=mask))
    torch.testing.assert_close(held.contexts["code"], TRUTH, rtol=1e-4, atol=1e-5)


def test_constant_observations_are_warned_of() -> None:
    data = observe(TRUTH, X0)
    still = replace(data, states=data.states.clone())
    still.states[1] = 0.5
    with pytest.warns(UserWarning, match=r"environment\(s\) 1 do not change in time"):
        leads.adapt(MODEL, still)


def test_too_few_for_first_states_too() -> None:
    data = observe(TRUTH, X0)
    mask = torch.zeros_like(data.states, dtype=torch.bool)
    mask[:, :, 5] = True
    with pytest.warns(UserWarning, match=r"4 observed values.*context of 2 values and 2 first states of 2.*at least 6"):
        leads.adapt(MODEL, hidden(data, mask), initial="estimated")


def test_penalties_see_numbers(data: DataSplits) -> None:
    """LEADS' penalty is taken at the observed states; missing ones must not make it NaN."""
    model = leads.build("leads", data.train, backbone_settings={"width": 4, "depth": 2})
    mask = torch.ones_like(data.adapt.states, dtype=torch.bool)
    mask[:, :, 3::2, 0] = False
    for solver in ("gradient", "gauss_newton"):
        adapted = leads.adapt(model, hidden(data.adapt, mask), solver=solver, steps=2, iterations=1)
        assert bool(torch.isfinite(torch.tensor(adapted.info["losses"])).all())


def test_some_rows_alone() -> None:
    """With contexts that are partly held, and several rows of each environment."""
    data = observe(TRUTH, X0)
    held = MODEL.with_adapter(Pinned(MODEL.adapter, {"code": TRUTH.flip(0)}))
    start = {"free": torch.zeros(2, 1, dtype=torch.float64)}
    problem = Problem(held, data, start, copies=3)
    point = problem.start(torch.zeros(6, 1, dtype=torch.float64))
    index = torch.tensor([1, 5])
    part = problem.rows(index)
    torch.testing.assert_close(part.residual(point.rows(index)), problem.residual(point)[index])
    assert float(problem.residual(point).detach().abs().max()) > 0.1


def test_filling() -> None:
    nan = float("nan")
    x = torch.tensor([[nan, 1.0, nan, 3.0, nan], [nan, nan, nan, nan, nan]]).reshape(1, 1, 2, 5).transpose(2, 3)
    x = torch.cat([x, torch.full_like(x, nan)], 1)  # a second trajectory, never observed
    data = leads.Trajectories(x, torch.arange(5).double(), mask=torch.isfinite(x))
    out = filled(data, estimated=True).states
    assert out[0, 0, :, 0].tolist() == [1, 1, 1, 3, 3]
    assert out[0, 0, :, 1].tolist() == [2, 2, 2, 2, 2]
    assert out[0, 1, :, 0].tolist() == [2, 2, 2, 2, 2]
    guess = replace(data, states=torch.where(data.mask, x, -7.0))
    assert filled(guess, estimated=True).states[0, :, 0].tolist() == [[1.0, -7.0], [-7.0, -7.0]]
    assert filled(guess, estimated=False).states[0, 0, 0].tolist() == [-7.0, -7.0]
