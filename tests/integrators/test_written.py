"""Rollouts with a way back of their own give the states and gradients of recorded ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import leads
from leads.errors import SettingsError
from leads.integrators import gradients_once, integrate_written, methods, taken_once
from leads.trajectories.segments import cut, whole, windows

CUTS: dict[str, Any] = {
    "whole": whole,
    "windows": lambda d: windows(d, 2),
    "unequal segments": lambda d: cut(d, [0, 1, 4], [1, 3, 2]),
}


@pytest.fixture(scope="module")
def data() -> leads.Trajectories:
    family = leads.make("lotka_volterra")
    few = leads.generate(family, cache=False).train.select(environments=[0, 4, 8], trajectories=[0, 1])
    uneven = torch.tensor([0, 1, 3, 4, 6, 7, 8])
    few = leads.Trajectories(few.states[:, :, uneven], few.times[uneven], few.parameters)
    return few.to(dtype=torch.float64)


def gradient(data: leads.Trajectories, once: bool, cut: Any, algorithm: str = "coda", **settings: Any) -> torch.Tensor:
    model = leads.build(algorithm, data, seed=3, **settings).double()
    torch.manual_seed(0)
    one = model.adapter.init_context()
    contexts = {
        k: (v.double() + torch.randn(3, *v.shape, dtype=torch.float64) / 10).requires_grad_() for k, v in one.items()
    }
    weights = [p for p in model.adapter.parameters() if p.requires_grad]
    segments = cut(data)
    segments.initial.requires_grad_()
    if once:
        with gradients_once():
            loss = model.loss_per_environment(segments, contexts).mean()
        # The way back is written: nothing of the steps was recorded.
        assert nodes(loss) < 200
    else:
        loss = model.loss_per_environment(segments, contexts).mean()
    found = torch.autograd.grad(loss, [*contexts.values(), *weights, segments.initial])
    return torch.cat([g.flatten() for g in found])


def nodes(x: torch.Tensor) -> int:
    seen, queue = set(), [x.grad_fn]
    while queue:
        node = queue.pop()
        if node is not None and node not in seen:
            seen.add(node)
            queue += [n for n, _ in node.next_functions]
    return len(seen)


@pytest.mark.parametrize("cutting", CUTS)
@pytest.mark.parametrize("method", [m for m in methods if methods[m].order])
def test_gradients_equal_recorded_ones(data: leads.Trajectories, method: str, cutting: str) -> None:
    recorded, written = (gradient(data, once, CUTS[cutting], method=method, substeps=2) for once in (False, True))
    torch.testing.assert_close(written, recorded, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("algorithm", ["geps", "one_per_environment", "film_codes", "maml"])
def test_every_adapter_of_weights_has_it(data: leads.Trajectories, algorithm: str) -> None:
    recorded, written = (gradient(data, once, whole, algorithm) for once in (False, True))
    torch.testing.assert_close(written, recorded, rtol=1e-10, atol=1e-12)


def test_products_are_gathered_and_summed(data: leads.Trajectories, monkeypatch: pytest.MonkeyPatch) -> None:
    from leads.backbones import mlp

    expected = gradient(data, True, whole)
    for enough in (1, 5, 10**9):
        monkeypatch.setattr(mlp, "ENOUGH", enough)
        torch.testing.assert_close(gradient(data, True, whole), expected, rtol=1e-11, atol=1e-13)


def test_a_way_back_can_be_taken_again(data: leads.Trajectories) -> None:
    model = leads.build("coda", data, seed=0).double()
    code = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    with gradients_once():
        loss = model.loss_per_environment(data, {"code": code}).sum()
    first, second = (torch.autograd.grad(loss, code, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_a_second_derivative_is_refused(data: leads.Trajectories) -> None:
    model = leads.build("coda", data, seed=0).double()
    code = torch.zeros(3, 2, dtype=torch.float64, requires_grad=True)
    with gradients_once():
        loss = model.loss_per_environment(data, {"code": code}).sum()
    with pytest.raises(SettingsError, match="promised to be taken once"):
        torch.autograd.grad(loss, code, create_graph=True)


def test_the_promise_ends_with_its_block(data: leads.Trajectories) -> None:
    def fails() -> None:
        with gradients_once():
            assert taken_once()
            leads.build("coda", data, substeps=0)

    with pytest.raises(SettingsError):
        fails()
    assert not taken_once()


def test_training_takes_it(data: leads.Trajectories, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def counted(*args: Any, **settings: Any) -> torch.Tensor:
        calls.append(1)
        return integrate_written(*args, **settings)

    monkeypatch.setattr("leads.dynamics.integrate_written", counted)
    leads.fit(leads.build("coda", data).double(), data, steps=3, horizons=(0,))
    assert len(calls) == 3
