"""What holds of all of them."""

from __future__ import annotations

import math

import pytest
import torch

from leads.ocean.baselines import (
    Baseline,
    Climatology,
    Covariance,
    DampedPersistence,
    LinearInterpolation,
    OptimalInterpolation,
    PeriodicPropagation,
    Persistence,
    WindowPropagation,
)

DAY = 86400.0
SPACING = (2e4, 2e4)
PAST_TIMES = torch.arange(4, dtype=torch.float64) * DAY
LEADS = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64) * DAY
DAMPED = DampedPersistence(
    torch.zeros(1, 1, 1), torch.tensor([0.0, 3 * DAY]).double(), torch.tensor([[1.0], [0.5]]).double()
)
ALL: dict[str, Baseline] = {
    "persistence": Persistence(),
    "damped": DAMPED,
    "climatology": Climatology(),
    "given climatology": Climatology(torch.tensor([0.1])),
    "optimal": OptimalInterpolation(Covariance(7 * DAY, 1e5, 1e5), SPACING),
    "linear": LinearInterpolation((7 * DAY, 1e5, 1e5), SPACING),
    "periodic": PeriodicPropagation(38.0, 2e4),
    "window": WindowPropagation(38.0, SPACING),
}


def past(dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Three environments of two trajectories of smooth heights with different gaps, the same land."""
    g = torch.Generator().manual_seed(0)
    y, x = torch.arange(16.0)[:, None] / 16, torch.arange(16.0) / 16
    phase = torch.rand(3, 2, 4, 1, 1, 1, generator=g)
    h = 0.1 * torch.sin(2 * math.pi * (x + phase)) * torch.cos(2 * math.pi * (y - phase))
    h = torch.where(torch.rand(h.shape, generator=g) < 0.2, torch.nan, h)
    h[..., :2, :3] = torch.nan
    return h.to(dtype)


@pytest.mark.parametrize("name", ALL)
def test_shapes_types_and_independence(name: str) -> None:
    land = torch.zeros(16, 16, dtype=torch.bool)
    land[:2, :3] = True
    frames = past()
    kept = frames.clone()
    made = ALL[name].forecast(frames, PAST_TIMES, LEADS, land)
    assert made.shape == (3, 2, 3, 1, 16, 16)
    torch.testing.assert_close(frames, kept, equal_nan=True, rtol=0, atol=0)
    # Nothing at sea is left open: every point was seen in some frame.
    seen = torch.isfinite(frames).any(2, keepdim=True)
    assert bool((torch.isfinite(made) | ~seen | land).all())
    assert bool(torch.isnan(made[..., land]).all())
    alone = ALL[name].forecast(frames[1:2, 1:], PAST_TIMES, LEADS, land)
    torch.testing.assert_close(alone[0, 0], made[1, 1], equal_nan=True, rtol=1e-9, atol=1e-12)
    single = ALL[name].forecast(past(torch.float32), PAST_TIMES, LEADS, land)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), made, equal_nan=True, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["persistence", "damped", "linear", "periodic", "window"])
def test_no_lead_is_the_last_frame(name: str) -> None:
    frames = past().nan_to_num(0.05)
    made = ALL[name].forecast(frames, PAST_TIMES, LEADS[:1])
    torch.testing.assert_close(made[:, :, 0], frames[:, :, -1], rtol=1e-9, atol=1e-12)
