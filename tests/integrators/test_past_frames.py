"""Fields that see past frames: recurrences and delayed equations with known solutions."""

from __future__ import annotations

import math

import pytest
import torch

from leads.errors import DataError
from leads.integrators import integrate, integrate_history

F64 = torch.float64


def test_a_map_of_two_frames_is_a_linear_recurrence() -> None:
    """x_{k+1} = x_k + x_{k-1} from (0, 1): Fibonacci numbers, by Binet's formula."""
    window = torch.tensor([0.0, 1.0], dtype=F64)[None, :, None]
    field = lambda t, x: x.sum(1, keepdim=True) - x[:, -1:]
    states = integrate_history(field, window, torch.arange(30, dtype=F64) / 7, axis=1, method="map")
    golden = (1 + math.sqrt(5)) / 2
    exact = [round((golden**k - (-1 / golden) ** k) / math.sqrt(5)) for k in range(1, 31)]
    assert states[:, 0, 0].tolist() == exact


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("rk4", 4)])
def test_past_frames_are_held_between_frames(method: str, order: int) -> None:
    """x' = -a x + b x_{k-1} has x_{k+1} = e^{-a h} x_k + b / a (1 - e^{-a h}) x_{k-1}."""
    a, b, h = 1.3, 0.7, 0.5
    window = torch.tensor([[0.4, 1.1], [1.0, -2.0]], dtype=F64)[:, :, None]  # two trajectories
    times = 3 + h * torch.arange(8, dtype=F64)
    field = lambda t, x: -a * x[:, 1:] + b * x[:, :1]
    frames, decay = list(window.unbind(1)), math.exp(-a * h)
    for _ in range(7):
        frames.append(decay * frames[-1] + b / a * (1 - decay) * frames[-2])
    exact = torch.stack(frames[1:])
    errors = [
        float((integrate_history(field, window, times, axis=1, method=method, substeps=n) - exact).abs().max())
        for n in (4, 8)
    ]
    assert 0.85 < math.log2(errors[0] / errors[1]) / order < 1.15


def test_one_frame_is_plain_integration() -> None:
    x0, t = torch.randn(3, 2, dtype=F64, generator=torch.Generator().manual_seed(0)), torch.arange(5, dtype=F64) / 4
    field = lambda s, x: torch.sin(x) * s
    assert torch.equal(integrate_history(field, x0[:, None], t, axis=1), integrate(field, x0, t))


def test_entries_on_their_own_times_and_gradients() -> None:
    times = torch.tensor([[0.0, 1.0, 2.0], [5.0, 6.0, 6.0]], dtype=F64).mT
    window = torch.randn(2, 3, 1, dtype=F64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    field = lambda t, x: torch.sin(x[:, :1]) + x[:, 1:2] * x[:, 2:]
    go = lambda w: integrate_history(field, w, times, axis=1, method="map")
    states = go(window)
    alone = integrate_history(field, window[:1], times[:, 0], axis=1, method="map")
    torch.testing.assert_close(states[:, :1], alone)
    assert torch.equal(states[2, 1], states[1, 1])
    assert torch.autograd.gradcheck(go, window)


def test_frames_at_uneven_distances_are_refused() -> None:
    with pytest.raises(DataError, match=r"history of past frames needs frames that are equally far apart.*history=1"):
        integrate_history(lambda t, x: x[:, :1], torch.ones(1, 2, 1), torch.tensor([0.0, 1.0, 3.0]), axis=1)
