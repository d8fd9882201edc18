from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from drift_model import drift

import leads
from leads.adaptation.design import greedy, information
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.errors import SettingsError, ShapeError, UnknownNameError
from leads.trajectories import DataSplits


def adapted_drift() -> tuple[leads.Adapted, torch.Tensor]:
    t = torch.linspace(0, 2, 9, dtype=torch.float64)
    noise = 0.1 * torch.randn(3, 1, 9, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    noise[:, :, 0] = 0
    adapted = leads.adapt(drift(), leads.Trajectories(noise + t[:, None], t))
    assert adapted.covariance is not None
    return adapted, adapted.covariance[:, 0, 0]


def test_expected_information_of_a_model_linear_in_its_context() -> None:
    """x = x0 + c t: an observation at t adds t^2 / s^2 to the precision of its channel, 1/2 log(1 + v t^2 / s^2) nats."""
    adapted, v = adapted_drift()
    times = torch.tensor([0.0, 1.0, 3.0, 2.0], dtype=torch.float64).sort().values
    x0 = torch.zeros(3, 2, 2, dtype=torch.float64)
    found = leads.next_observation(adapted, x0, times, n=3, noise=0.2)
    exact = 0.5 * torch.log1p(v[:, None] * times[1:] ** 2 / 0.04)
    torch.testing.assert_close(found.gains, exact[:, None, :, None].expand(3, 2, 3, 2), rtol=1e-6, atol=1e-9)
    assert bool((found.frame[:, :2] == 3).all())
    assert bool((found.channel[:, 0] != found.channel[:, 1]).all())
    # The third looks at a channel for the second time, in the other trajectory.
    torch.testing.assert_close(found.gain[:, 0], found.gain[:, 1])
    twice = 0.5 * torch.log1p(2 * v * 9 / 0.04) - exact[:, -1]
    torch.testing.assert_close(found.gain[:, 2], twice, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.before, 0.5 * torch.log(v**2), rtol=1e-6, atol=1e-9)
    assert len(set(zip(*(x[0].tolist() for x in (found.trajectory, found.frame, found.channel)), strict=True))) == 3


def test_expected_decrease_of_the_forecast_variance() -> None:
    adapted, v = adapted_drift()
    times, later = (torch.tensor(x, dtype=torch.float64) for x in ([0.0, 1.0, 2.0], [0.0, 4.0, 5.0]))
    x0 = torch.zeros(3, 1, 2, dtype=torch.float64)
    found = leads.next_observation(adapted, x0, times, goal="forecast", noise=[0.1, 0.4], target=(x0, later))
    mean = (16 + 25) / 2
    after = torch.stack([1 / (1 / v + 4 / s**2) for s in (0.1, 0.4)], 1)
    torch.testing.assert_close(found.before, v * mean, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found.gains[:, 0, 1], mean * (v[:, None] - after) / 2, rtol=1e-6, atol=1e-9)
    assert found.channel.tolist() == [[0]] * 3
    assert found.frame.tolist() == [[2]] * 3
    whole = leads.next_observation(adapted, x0, times, goal="forecast", unit="frame", noise=0.1)
    assert whole.gains.shape == (3, 1, 2)
    assert whole.channel.tolist() == [[-1]] * 3
    assert "the whole state at time 2 of trajectory 0" in whole.sentences()[0]
    assert "forecast's mean variance" in str(whole)


def test_greedy_choice_against_every_sequence_by_hand() -> None:
    g = torch.Generator().manual_seed(0)
    slopes = torch.randn(2, 7, 3, 2, dtype=torch.float64, generator=g)
    informations = slopes @ slopes.mT
    order, gain, alone = greedy(informations, 4, information, torch.ones(2, 7, dtype=torch.bool))
    for e in range(2):
        precision = torch.eye(3, dtype=torch.float64)
        for i in range(4):
            left = [b for b in range(7) if b not in order[e, :i].tolist()]
            gains = {b: float(torch.logdet(precision + informations[e, b]) - torch.logdet(precision)) / 2 for b in left}
            best = max(gains, key=lambda b: gains[b])
            assert int(order[e, i]) == best
            assert float(gain[e, i]) == pytest.approx(gains[best])
            precision = precision + informations[e, best]
    expected = torch.logdet(torch.eye(3) + informations) / 2
    torch.testing.assert_close(alone, expected)


def test_chosen_observations_shrink_the_real_error_more_than_random_ones(
    coda: DecomposedDynamics, lotka: EnvironmentFamily
) -> None:
    """Three frames are seen; two further values of the same trajectory are chosen, or drawn."""
    g = torch.Generator().manual_seed(0)
    truth = 0.15 * torch.randn(60, 2, generator=g)
    x0, t = 1 + torch.rand(60, 1, 2, generator=g), lotka.times
    with torch.no_grad():
        states = coda.rollout(x0, t, {"code": truth})
    states = torch.cat(
        [states[:, :, :1], states[:, :, 1:] + 0.02 * torch.randn(states[:, :, 1:].shape, generator=g)], 2
    )
    mask = torch.zeros_like(states, dtype=torch.bool)
    mask[:, :, :4] = True
    data = leads.Trajectories(states, t, mask=mask)
    first = leads.adapt(coda, data)
    plan = leads.next_observation(first, x0, t, n=2, noise=0.02, goal="forecast", allowed=~mask)
    rows = torch.arange(60)[:, None]

    def error(frames: torch.Tensor, channels: torch.Tensor) -> torch.Tensor:
        more = mask.clone()
        more[rows, 0, frames, channels] = True
        after = leads.adapt(coda, replace(data, mask=more))
        with torch.no_grad():
            wrong = after.forecast(x0, t) - coda.rollout(x0, t, {"code": truth})
        return wrong.square().flatten(1).mean(1)

    chosen = error(plan.frame, plan.channel)
    drawn = error(torch.randint(4, 20, (60, 2), generator=g), torch.randint(0, 2, (60, 2), generator=g))
    assert bool((plan.frame > 3).all())
    assert float((chosen < drawn).double().mean()) > 0.6
    assert float(chosen.median()) < 0.7 * float(drawn.median())


def test_fields(diffusion: EnvironmentFamily) -> None:
    model = leads.build("coda", diffusion, backbone="conv", backbone_settings={"width": 4})
    data = leads.generate(diffusion, cache=False)
    adapted = leads.adapt(model, data.adapt, iterations=1)
    x0, t = data.adapt.initial, data.adapt.times
    cell = leads.next_observation(adapted, x0, t, n=3, unit="value", noise=0.1)
    assert cell.gains.shape == (1, 1, 4, 1, 8)
    assert "at cell" in cell.sentences()[0]
    channel = leads.next_observation(adapted, x0, t, noise=0.1)
    assert channel.gains.shape == (1, 1, 4, 1)
    assert float(channel.gain[0, 0]) > float(cell.gain[0, 0])


def test_bad_input(coda: DecomposedDynamics, data: DataSplits) -> None:
    adapted = leads.adapt(coda, data.adapt)
    x0, t = data.adapt.initial, data.adapt.times
    with pytest.raises(UnknownNameError, match="context"):
        leads.next_observation(adapted, x0, t, goal="contexts")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="38 candidates"):
        leads.next_observation(adapted, x0, t, n=39)
    with pytest.raises(SettingsError, match="of 2 candidates"):
        leads.next_observation(adapted, x0, t, n=3, allowed=(t == 2.5)[:, None])
    with pytest.raises(ShapeError, match=r"broadcast to \(4, 1, 20, 2\)"):
        leads.next_observation(adapted, x0, t, allowed=torch.ones(3, dtype=torch.bool))
    with pytest.raises(ShapeError, match="each of 2 channels"):
        leads.next_observation(adapted, x0, t, noise=[1.0, 2.0, 3.0])
    with pytest.raises(SettingsError, match="positive"):
        leads.next_observation(adapted, x0, t, noise=-1.0)
    with pytest.raises(SettingsError, match="no covariance"):
        leads.next_observation(leads.trained(coda), data.train.initial, t, noise=0.1)
    with pytest.raises(ShapeError, match="E, N, C"):
        leads.next_observation(adapted, x0[:1], t)
