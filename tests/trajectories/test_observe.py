"""Trajectories that carry what observed them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from leads.environments import Channel, Grid
from leads.errors import DataError, SettingsError
from leads.observation import AlongTrack, Channels, Clouds, Compose, FixedMask, LayeredHeight, Noise
from leads.trajectories import Trajectories, load, observe, save, to_xarray, write

GRID = Grid((12, 12), (1e5, 1e5), ("y", "x"), "m")
LAND = torch.arange(144).reshape(12, 12) % 4 > 0


def full() -> Trajectories:
    x = torch.randn(2, 3, 4, 2, 12, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    times = torch.arange(4, dtype=torch.float64) * 86400
    return Trajectories(x, times, channels=(Channel("q1", "s-1"), Channel("q2", "s-1")), grid=GRID)


def test_observed_values_masks_and_names() -> None:
    data = full()
    seen = observe(data, Channels("q2") | FixedMask(LAND) | Clouds(0.3, 3e5) | Noise(0.5), seed=3)
    assert seen.mask is not None
    assert [c.name for c in seen.channels] == ["q2"]
    assert seen.grid == GRID
    assert not bool(seen.mask[..., ~LAND].any())
    assert bool(torch.isnan(seen.states[~seen.mask]).all())
    error = (seen.states[:, :, :, 0] - data.states[:, :, :, 1])[seen.mask[:, :, :, 0]]
    assert float(error.std()) == pytest.approx(0.5, rel=0.1)
    share = float(seen.mask[..., LAND].double().mean())
    assert share == pytest.approx(0.7, abs=0.1)
    again = observe(data, Channels("q2") | FixedMask(LAND) | Clouds(0.3, 3e5) | Noise(0.5), seed=3)
    assert torch.equal(again.mask, seen.mask)
    torch.testing.assert_close(again.states, seen.states, equal_nan=True, rtol=0, atol=0)
    other = observe(data, Channels("q2") | FixedMask(LAND) | Clouds(0.3, 3e5) | Noise(0.5), seed=4)
    assert not torch.equal(other.mask, seen.mask)


def test_float32_draws_the_same_noise() -> None:
    double = observe(full(), Noise(0.5), seed=1)
    single = observe(full().to(dtype=torch.float32), Noise(0.5), seed=1)
    torch.testing.assert_close(single.states.double(), double.states, rtol=1e-5, atol=1e-5)


def test_all_seen_needs_no_mask() -> None:
    assert observe(full(), Channels("q1")).mask is None


def test_observed_once_more() -> None:
    twice = observe(observe(full(), LayeredHeight(2e5)), AlongTrack(window=86400.0) | Noise(0.1))
    assert isinstance(twice.operator, Compose)
    assert [type(p).__name__ for p in twice.operator.parts] == ["LayeredHeight", "AlongTrack", "Noise"]
    assert twice.operator.bound.state_shape == (2, 12, 12)
    assert twice.operator.output.state_shape == twice.state_shape


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_files_keep_the_operator(tmp_path: Path, suffix: str) -> None:
    seen = observe(full(), Channels("q2") | FixedMask(LAND) | AlongTrack(window=86400.0) | Noise(0.1))
    again = load(save(seen, tmp_path / f"seen{suffix}"))
    assert again.operator is not None
    assert seen.operator is not None
    assert again.operator.output == seen.operator.output
    x = full().states
    assert torch.equal(again.operator(x, seen.times), seen.operator(x, seen.times))
    known = torch.ones_like(x, dtype=torch.bool)
    assert torch.equal(again.operator.seen(known, seen.times), seen.operator.seen(known, seen.times))
    assert torch.equal(again.mask, seen.mask)


def test_selections_keep_the_operator_of_their_environments() -> None:
    seen = observe(full(), LayeredHeight((1e5, 2e5)) | Noise(0.1))
    for part, rows in (
        (seen.select(environments=[1]), (2e5,)),
        (seen.select(environments=slice(0, 1)), (1e5,)),
        (seen.select(trajectories=[0]), (1e5, 2e5)),
        (seen.unlabelled(), (1e5,) * 3 + (2e5,) * 3),
    ):
        assert part.operator.parts[0].rd == rows


def test_samples_of_observations() -> None:
    from leads.trajectories.samples import samples, seen_channels

    tracks = observe(full(), AlongTrack(window=86400.0))
    with pytest.raises(SettingsError, match="moves with time"):
        samples(tracks, 2)
    assert samples(observe(full(), Channels("q2")), 2).operator is not None
    one = seen_channels(observe(full(), Channels(("q2", "q1"))), ["q1"])
    assert torch.equal(one.operator(full().states), one.states)


def test_a_damaged_operator_is_named() -> None:
    from leads.trajectories import from_xarray

    dataset = to_xarray(observe(full(), Noise(0.1)))
    dataset.attrs["observation_operator"] = '{"kind": "nois"}'
    with pytest.raises(DataError, match="observation_operator"):
        from_xarray(dataset)


def test_other_formats_say_that_they_drop_it(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="does not keep the observation operator"):
        write(observe(full(), Noise(0.1)), tmp_path / "seen.npz", format="numpy")


def test_bad_input() -> None:
    with pytest.raises(DataError, match=r"leads\.Trajectories"):
        observe(full().states, Noise(0.1))
    with pytest.raises(SettingsError, match="q1"):
        observe(full(), Channels("q3"))
    with pytest.raises(DataError, match="sees nothing"):
        observe(full(), AlongTrack(window=1.0, repeat=8.64e9, spacing=1e6).bind(full()))
