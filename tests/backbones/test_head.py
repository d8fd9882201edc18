"""The point-wise head that keeps nothing gives the values and gradients of the plain one."""

from __future__ import annotations

import pytest
import torch

import leads
from leads.backbones import backbones
from leads.backbones.head import pointwise_head
from leads.errors import SettingsError
from leads.integrators import gradients_once


def arguments() -> list[torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    shapes = [(2, 3, 4, 5), (2, 1, 7, 4), (2, 1, 7, 1), (2, 1, 3, 7), (2, 1, 3, 1)]
    return [torch.randn(s, generator=g, dtype=torch.float64).requires_grad_() for s in shapes]


def test_values_and_gradients() -> None:
    given = arguments()
    plain = pointwise_head(*given)
    with gradients_once():
        lean = pointwise_head(*given)
    torch.testing.assert_close(lean, plain, rtol=1e-13, atol=1e-13)
    weights = torch.randn_like(plain)
    for a, b in zip(*(torch.autograd.grad((y * weights).sum(), given) for y in (lean, plain)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_second_derivatives_are_refused_where_once_was_promised() -> None:
    given = arguments()
    with gradients_once():
        y = pointwise_head(*given)
    with pytest.raises(SettingsError, match="promised to be taken once"):
        torch.autograd.grad(y.sum(), given, create_graph=True)


def test_an_fno_in_training_equals_one_that_is_recorded() -> None:
    states = torch.randn(2, 2, 3, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    data = leads.Trajectories(states, torch.arange(3, dtype=torch.float64))
    model = leads.build("coda", data, "fno", {"modes": 3, "width": 4, "hidden": 8}, method="euler", spread=0.3).double()
    contexts = {"code": torch.randn(2, 2, dtype=torch.float64)}
    weights = list(model.adapter.parameters())
    recorded = torch.autograd.grad(model.loss_per_environment(data, contexts).sum(), weights)
    with gradients_once():
        loss = model.loss_per_environment(data, contexts).sum()
    for a, b in zip(torch.autograd.grad(loss, weights), recorded, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    assert "fno" in backbones
