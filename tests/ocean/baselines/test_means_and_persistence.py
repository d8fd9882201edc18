from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from leads.errors import DataError, SettingsError, ShapeError, UnknownNameError
from leads.ocean.baselines import Climatology, DampedPersistence, Persistence, grown, last_known, mean_state
from leads.trajectories import Trajectories

SHAPE = (2, 3, 12, 2, 4, 5)
TIMES = torch.arange(12, dtype=torch.float64)
LEADS = torch.tensor([0.0, 1.0, 2.5], dtype=torch.float64)


def draw(seed: int = 0) -> torch.Tensor:
    return torch.randn(SHAPE, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_persistence_takes_the_last_observed_value() -> None:
    past = draw()
    past[0, 0, -1, 0, 1, 2] = torch.nan
    past[0, 0, -2, 0, 1, 2] = torch.nan
    past[:, :, :, :, 3, 3] = torch.nan
    made = Persistence().forecast(past, TIMES, LEADS)
    assert made.shape == (2, 3, 3, 2, 4, 5)
    assert float(made[0, 0, 1, 0, 1, 2]) == float(past[0, 0, -3, 0, 1, 2])
    assert torch.isnan(made[..., 3, 3]).all()
    torch.testing.assert_close(made[:, :, 2, :, :3], last_known(past)[..., :3, :])
    land = torch.zeros(4, 5, dtype=torch.bool)
    land[0] = True
    assert torch.isnan(Persistence().forecast(draw(), TIMES, LEADS, land)[..., 0, :]).all()


def test_damped_persistence_finds_the_decay() -> None:
    g = torch.Generator().manual_seed(1)
    start = torch.randn(4, 2, 1, 2, 3, 3, dtype=torch.float64, generator=g)
    # Channels that decay at different rates about different means.
    rate = torch.tensor([0.1, 0.4], dtype=torch.float64)[:, None, None]
    mean = torch.tensor([5.0, -2.0], dtype=torch.float64)[:, None, None]
    states = mean + start * torch.exp(-rate * TIMES[:, None, None, None])
    train = Trajectories(states, TIMES)
    leads = torch.tensor([1.0, 4.0], dtype=torch.float64)
    fitted = DampedPersistence.fit(train, leads, mean)
    torch.testing.assert_close(
        fitted.coefficient, torch.exp(-torch.tensor([[0.0], [1.0], [4.0]]).double() * rate[:, 0, 0])
    )
    made = fitted.forecast(states[:, :, :6], TIMES[:6], torch.tensor([1.0, 2.5, 4.0]).double())
    torch.testing.assert_close(made[:, :, [0, 2]], states[:, :, [6, 9]])
    half = (torch.exp(-rate) + torch.exp(-4 * rate)) / 2
    torch.testing.assert_close(made[:, :, 1], mean + half * (states[:, :, 5] - mean))


def test_damped_persistence_is_least_squares_over_what_is_known() -> None:
    states = draw(2)
    mask = torch.rand(SHAPE, generator=torch.Generator().manual_seed(3)) < 0.7
    fitted = DampedPersistence.fit(Trajectories(states, TIMES, mask=mask), torch.tensor([3.0]))
    for c in range(2):
        x = torch.where(mask, states, torch.nan)[:, :, :, c]
        a = x - x[~torch.isnan(x)].mean()
        now, later = a[:, :, :-3].flatten().numpy(), a[:, :, 3:].flatten().numpy()
        both = np.isfinite(now * later)
        slope = np.linalg.lstsq(now[both, None], later[both], rcond=None)[0][0]
        assert float(fitted.coefficient[1, c]) == pytest.approx(slope)


def test_climatology() -> None:
    train = Trajectories(draw(4), TIMES)
    channel, point = mean_state(train), mean_state(train, "point")
    torch.testing.assert_close(channel[:, 0, 0], draw(4).mean((0, 1, 2, 4, 5)))
    torch.testing.assert_close(point, draw(4).mean((1, 2))[:, None])
    made = Climatology(point).forecast(draw(5), TIMES, LEADS)
    torch.testing.assert_close(made[:, 1, 2], point[:, 0])
    past = draw(6)
    past[0, 0, :4, 0, 0, 0] = torch.nan
    own = Climatology().forecast(past, TIMES, LEADS)
    assert float(own[0, 0, 1, 0, 0, 0]) == pytest.approx(float(past[0, 0, 4:, 0, 0, 0].mean()))


def test_filling_solves_laplaces_equation() -> None:
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(11.0), indexing="ij")
    field = (x**2 - y**2 + 3 * x).double()
    holed = field.clone()
    holed[3:6, 4:7] = torch.nan
    torch.testing.assert_close(grown(holed, sweeps=200), field, rtol=1e-8, atol=1e-8)
    corner = field.clone()
    corner[:2, :2] = torch.nan
    filled = grown(torch.stack([corner, field]))
    assert torch.isfinite(filled).all()
    torch.testing.assert_close(filled[1], field)
    assert float(filled[0, 2:].sub(field[2:]).abs().max()) == 0


def test_bad_input_is_refused() -> None:
    past = draw()
    with pytest.raises(ShapeError, match=r"\(E, N, T0, C, Y, X\)"):
        Persistence().forecast(past[0], TIMES, LEADS)
    with pytest.raises(ShapeError, match="as many times, got 3"):
        Persistence().forecast(past, TIMES[:3], LEADS)
    with pytest.raises(SettingsError, match="not negative, got -1"):
        Persistence().forecast(past, TIMES, LEADS - 1)
    past[1, 2] = math.nan
    with pytest.raises(DataError, match="Trajectory 2 of environment 1"):
        Persistence().forecast(past, TIMES, LEADS)
    fitted = DampedPersistence.fit(Trajectories(draw(), TIMES), torch.tensor([1.0]))
    with pytest.raises(SettingsError, match=r"leads up to 1 s, got 2\.5 s"):
        fitted.forecast(draw(), TIMES, LEADS)
    with pytest.raises(SettingsError, match=r"No two training frames lie 0\.5 s apart"):
        DampedPersistence.fit(Trajectories(draw(), TIMES), torch.tensor([0.5]))
    with pytest.raises(UnknownNameError, match="point"):
        mean_state(Trajectories(draw(), TIMES), "pont")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="filled"):
        grown(torch.full((3, 3), math.nan))
