"""Ground tracks: geometry, repeat period, and when they are flown."""

from __future__ import annotations

import math

import pytest
import torch

from leads.environments import Channel, Grid
from leads.observation import AlongTrack, Layout

DAY = 86400.0
GRID = Grid((64, 64), (1e6 / 64, 1e6 / 64), ("y", "x"), "m")
LAYOUT = Layout((Channel("h", "m"),), GRID.shape, GRID)


def test_tracks_come_back_after_the_repeat_period_only() -> None:
    orbit = AlongTrack().bind(LAYOUT)
    times = torch.arange(40, dtype=torch.float64) * 0.3 * DAY
    where, used = orbit.positions(times)
    again, used_again = orbit.positions(times + orbit.repeat)
    torch.testing.assert_close(again, where)
    assert torch.equal(used, used_again)
    half, _ = orbit.positions(times + orbit.repeat / 2)
    assert float((half - where).abs().max()) > 1e5


def test_a_period_holds_every_track_once() -> None:
    orbit = AlongTrack(window=AlongTrack().repeat).bind(LAYOUT)
    assert orbit.tracks == round(1e6 / 249e3)
    where, used = orbit.positions(torch.tensor([3.0 * DAY], dtype=torch.float64))
    assert bool(used.all())
    assert orbit.slots == 2 * orbit.tracks
    tracks = where[0].unflatten(0, (orbit.slots, orbit.points_a_track))
    slope = (tracks[:, -1, 1] - tracks[:, 0, 1]) / (tracks[:, -1, 0] - tracks[:, 0, 0])
    assert sorted(slope.sign().tolist()) == [-1.0] * 4 + [1.0] * 4
    torch.testing.assert_close(slope.abs(), torch.full_like(slope, math.tan(math.radians(31))))
    for sign in (-1.0, 1.0):
        y, x = tracks[slope.sign() == sign][:, 0].unbind(-1)
        start = (x - sign * y * math.tan(math.radians(31))).sort().values
        torch.testing.assert_close(start.diff(), torch.full((3,), 1e6 / 4, dtype=torch.float64))
    distance = (tracks[:, 1:] - tracks[:, :-1]).norm(dim=-1)
    assert float(distance.max()) == pytest.approx(6e3, rel=5e-3)


def test_the_share_of_seen_frames_is_the_share_of_time() -> None:
    orbit = AlongTrack(window=0.5 * DAY).bind(LAYOUT)
    times = torch.arange(4000, dtype=torch.float64) * 0.0123 * DAY
    _, used = orbit.positions(times)
    crossings_a_window = used.double().sum(-1).mean() / orbit.points_a_track
    assert float(crossings_a_window) == pytest.approx(0.5 / (9.9156 / 8), rel=0.01)


def test_more_satellites_fly_between() -> None:
    one, two = AlongTrack(window=5 * DAY).bind(LAYOUT), AlongTrack(window=5 * DAY, satellites=2).bind(LAYOUT)
    t = torch.arange(20, dtype=torch.float64) * DAY
    single, used_single = one.positions(t)
    both, used = two.positions(t)
    assert two.count == 2 * one.count
    torch.testing.assert_close(both[:, : one.count], single)
    assert torch.equal(used[:, : one.count], used_single)
    assert float(used.double().mean()) == pytest.approx(float(used_single.double().mean()), rel=0.1)
    # The second flies half an interval later, half a spacing further on.
    later, _ = two.positions(t + one.interval / 2)
    shift = (later[:, one.count :] - single) % 1e6
    torch.testing.assert_close(shift[..., 1], torch.full_like(shift[..., 1], 1e6 / one.tracks / 2))


def test_values_on_the_track_are_the_fields() -> None:
    # A plane wave of long wavelength is interpolated to second order.
    orbit = AlongTrack(window=2 * DAY).bind(LAYOUT)
    t = torch.tensor([1.0, 6.0], dtype=torch.float64) * DAY
    wave = lambda y, x: torch.sin(2 * math.pi * (x + 2 * y) / 1e6)
    y, x = torch.meshgrid(GRID.coordinates(0), GRID.coordinates(1), indexing="ij")
    field = wave(y, x).expand(1, 2, 1, 64, 64)
    where, _ = orbit.positions(t)
    error = (orbit(field, t)[0, :, 0] - wave(where[..., 0], where[..., 1])).abs().max()
    # |f''| h^2 / 8 along each axis.
    bound = (2 * math.pi / 64) ** 2 * (1 + 4) / 8
    assert 0.1 * bound < float(error) <= bound * 1.001


def test_times_of_each_trajectory() -> None:
    orbit = AlongTrack(window=2 * DAY).bind(LAYOUT)
    x = torch.randn(1, 3, 2, 1, 64, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.rand(1, 3, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 10 * DAY
    together = orbit(x, t)
    for n in range(3):
        assert torch.equal(together[0, n], orbit(x[0, n], t[0, n]))
