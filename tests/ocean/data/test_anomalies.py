"""Statistics from training windows only, and the way back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from ocean_files import dates, height

from leads.errors import DataError, ShapeError, UnknownNameError
from leads.ocean.data import Anomalies, Regions, Windows, cut, read_gridded


def windows(n: int = 12) -> Windows:
    return cut(read_gridded(height(n, ny=16, nx=24)), Regions(window=8, stride=4, sea=0.5))


def test_statistics_are_those_of_training_frames_worked_out_by_hand() -> None:
    w = windows()
    train = w.select(frames=slice(0, 8))
    a = Anomalies.fit(train, frame_mean=True)
    x = np.where(w.trajectories.mask.numpy(), w.trajectories.states.double().numpy(), np.nan)
    mean = np.nanmean(x, (4, 5), keepdims=True)
    left = x - mean
    climatology = (
        np.nanmean(left[:, :, :8], (1, 2), keepdims=True)
        if bool(w.sea.all())
        else np.nan_to_num(left[:, :, :8]).sum((1, 2), keepdims=True) / 8
    )
    scale = np.sqrt(np.nanmean((left[:, :, :8] - climatology) ** 2))
    np.testing.assert_allclose(a.scale.numpy(), [scale], rtol=1e-9)
    got = a.apply(w)
    want = np.nan_to_num((left - climatology) / scale)
    np.testing.assert_allclose(got.trajectories.states.numpy(), want, atol=2e-6)
    assert got.trajectories.channels[0].unit == "1"


def test_test_frames_change_nothing() -> None:
    w = windows()
    spoilt = w.trajectories.states.clone()
    spoilt[:, :, 8:] = 77.0
    other = replace(w, trajectories=replace(w.trajectories, states=spoilt))
    a, b = (Anomalies.fit(d.select(frames=slice(0, 8))) for d in (w, other))
    assert torch.equal(a.climatology, b.climatology)
    assert torch.equal(a.scale, b.scale)


@pytest.mark.parametrize("climatology", ["none", "mean"])
@pytest.mark.parametrize("frame_mean", [False, True])
def test_the_way_back(frame_mean: bool, climatology: str) -> None:
    w = windows()
    a = Anomalies.fit(w.select(frames=slice(0, 8)), frame_mean=frame_mean, climatology=climatology)
    z = a.apply(w)
    back = a.invert(z.trajectories.states, z.dates(), a.means(w) if frame_mean else None)
    assert bool((torch.isnan(back) == ~w.sea[:, None, None]).all())
    torch.testing.assert_close(
        back[w.trajectories.mask].float(), w.trajectories.states[w.trajectories.mask], rtol=0, atol=1e-6
    )
    errors = a.invert_error(torch.ones_like(z.trajectories.states))
    torch.testing.assert_close(errors[w.trajectories.mask], a.scale.expand(int(w.trajectories.mask.sum())))
    assert bool(torch.isnan(errors[~w.sea[:, None, None].expand_as(errors)]).all())


def test_land_is_the_mean_and_not_a_height() -> None:
    w = windows()
    a = Anomalies.fit(w)
    z = a.apply(w).trajectories
    assert bool((z.states[~z.mask] == 0).all())
    assert bool(torch.isfinite(z.states).all())


def test_new_environments_bring_only_what_their_support_shows() -> None:
    w = windows()
    a = Anomalies.fit(w.select([0, 1], frames=slice(0, 8)))
    new = a.of(w.select([2, 3], frames=slice(0, 4)))
    assert torch.equal(new.scale, a.scale)
    seen = w.sea[2:4, 0]
    mean = w.trajectories.states[2:4, 0, :4, 0].double().mean(1)
    torch.testing.assert_close(new.climatology[:, 0, 0][seen], mean[seen])
    with pytest.raises(ShapeError, match=r"anomalies.of\(support\)"):
        a.apply(w)


def test_an_annual_cycle_is_found_and_taken_off() -> None:
    w = windows(2)
    n = 500
    when = dates(n)
    angle = 2 * np.pi * ((when - np.datetime64("2000-01-01")) / np.timedelta64(1, "D")) / 365.2425
    cycle = torch.as_tensor(0.3 + 0.2 * np.cos(angle) - 0.1 * np.sin(angle))
    noise = 1e-3 * torch.randn(n, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = (cycle + noise).reshape(1, 1, n, 1, 1, 1).expand(len(w), 1, n, 1, 8, 8).float()
    data = w.with_states(x, torch.arange(n, dtype=torch.float64) * 86400)
    a = Anomalies.fit(data, climatology="annual", scaled=False)
    sea = w.sea[:, 0]
    for k, value in enumerate((0.3, 0.2, -0.1)):
        torch.testing.assert_close(
            a.climatology[:, k, 0][sea], torch.full_like(a.climatology[:, k, 0][sea], value), atol=3e-4, rtol=0
        )
    z = a.apply(data)
    assert float(z.trajectories.states.std()) < 1.1e-3
    back = a.invert(z.trajectories.states, z.dates())
    torch.testing.assert_close(back.float()[data.trajectories.mask], x[data.trajectories.mask], atol=1e-6, rtol=0)
    with pytest.raises(DataError, match="span 300 days, these span 99"):
        Anomalies.fit(data.select(frames=slice(0, 100)), climatology="annual")


def test_what_cannot_be_said() -> None:
    w = windows()
    with pytest.raises(UnknownNameError, match=r"No climatology is named 'anual'.*annual"):
        Anomalies.fit(w, climatology="anual")
    a = Anomalies.fit(w, frame_mean=True)
    z = a.apply(w)
    with pytest.raises(DataError, match="mean of every frame was taken off"):
        a.invert(z.trajectories.states, z.dates())
