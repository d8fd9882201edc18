from __future__ import annotations

import math

import pytest
import torch

from leads.errors import DivergenceError, SettingsError
from leads.integrators import integrate_adaptive


class Decay(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rate = torch.nn.Parameter(torch.tensor(0.7, dtype=torch.float64))

    def forward(self, t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return -self.rate * x


@pytest.mark.parametrize("adjoint", [False, True])
def test_exact_decay_and_its_gradient(adjoint: bool) -> None:
    field = Decay()
    times = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)
    x = integrate_adaptive(field, torch.ones(2, dtype=torch.float64), times, rtol=1e-9, atol=1e-10, adjoint=adjoint)
    torch.testing.assert_close(x[:, 0], torch.exp(-0.7 * times), rtol=1e-7, atol=1e-8)
    x[-1, 0].backward()
    assert field.rate.grad is not None
    assert float(field.rate.grad) == pytest.approx(-3 * math.exp(-2.1), rel=1e-5)


def test_bad_input() -> None:
    x, times = torch.ones(1, dtype=torch.float64), torch.tensor([0.0, 2.0])
    with pytest.raises(DivergenceError, match="gave up"):
        integrate_adaptive(lambda t, y: y**2, x, times)
    with pytest.raises(SettingsError, match="Module"):
        integrate_adaptive(lambda t, y: -y, x, times, adjoint=True)
    with pytest.raises(SettingsError, match="refused"):
        integrate_adaptive(lambda t, y: -y, x, times, method="dopri55")
