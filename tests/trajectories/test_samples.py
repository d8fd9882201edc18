"""Samples cut from long trajectories, hidden channels and standardised values."""

from __future__ import annotations

import pytest
import torch

from leads.environments import Channel
from leads.errors import DataError, SettingsError, UnknownNameError
from leads.trajectories import DataSplits, Trajectories
from leads.trajectories.samples import Sampling, sampled_splits, samples, seen_channels

F64 = torch.float64


def counting(trajectories: int = 1, frames: int = 12) -> Trajectories:
    k = torch.arange(frames, dtype=F64) + 100 * torch.arange(trajectories, dtype=F64)[:, None]
    states = torch.stack([k, 1000 + 2 * k], -1)[None]
    return Trajectories(states, 0.5 * torch.arange(frames, dtype=F64), channels=(Channel("a", "m"), Channel("b", "s")))


def test_samples_start_every_stride_frames() -> None:
    cut = samples(counting(2), 4, 3)
    assert cut.states[0, :, :, 0].tolist() == [
        [0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9], [100, 101, 102, 103], [103, 104, 105, 106], [106, 107, 108, 109],
    ]  # fmt: skip
    assert cut.times.tolist() == [0, 0.5, 1, 1.5]
    one = counting()
    assert samples(one, 4).states.data_ptr() == one.states.data_ptr()
    mask = torch.ones_like(one.states, dtype=torch.bool)
    mask[:, :, 5] = False
    masked = samples(Trajectories(one.states, one.times, mask=mask), 4, 4)
    assert masked.mask is not None
    assert masked.mask[0, 1, :, 0].tolist() == [True, False, True, True]


def test_splits_by_frames_and_scales_of_the_training_set() -> None:
    whole = counting(1, 20)
    data = DataSplits(whole, whole, whole, whole, whole)
    made = sampled_splits(data, Sampling(("b",), "channels", 4, 2, valid_from=10, test_from=16, new_until=7))
    assert [d.states.shape[1] for d in made] == [4, 4, 1, 2, 2]
    mean, scale = made.train.attributes["standardised_mean"][0], made.train.attributes["standardised_scale"][0]
    back = lambda d: ((d.states * scale + mean - 1000) / 2)[0, :, 0, 0]
    torch.testing.assert_close(back(made.train), torch.tensor([0, 2, 4, 6], dtype=F64))
    torch.testing.assert_close(back(made.valid), torch.tensor([10, 12, 14, 16], dtype=F64))
    torch.testing.assert_close(back(made.test), torch.tensor([16], dtype=F64))
    torch.testing.assert_close(back(made.adapt), torch.tensor([0, 2], dtype=F64))
    x = made.train.states
    assert float(x.mean()) == pytest.approx(0, abs=1e-12)
    assert float(x.std(unbiased=False)) == pytest.approx(1)
    assert [c.unit for c in made.train.channels] == ["1"]
    together = sampled_splits(data, Sampling(standardise="all")).train
    assert float(together.states.mean()) == pytest.approx(0, abs=1e-12)
    assert float(together.states.std(unbiased=False)) == pytest.approx(1)
    assert float(together.states[..., 0].std()) < 0.1
    untouched = sampled_splits(data, Sampling())
    assert all(torch.equal(a.states, b.states) for a, b in zip(untouched, data, strict=True))


def test_bad_input() -> None:
    whole = counting()
    with pytest.raises(UnknownNameError, match="channels"):
        Sampling(standardise="channel")
    for wrong in ({"window": 1}, {"stride": 0}, {"test_from": -1}):
        with pytest.raises(SettingsError, match="stride >= 1"):
            Sampling(**wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match=r"test set would have T = 3 of its 12 frames.*samples of 4"):
        sampled_splits(DataSplits(whole, whole, whole, whole, whole), Sampling(window=4, test_from=9))
    with pytest.raises(SettingsError, match="cannot be cut from T = 12"):
        samples(whole, 13)
    with pytest.raises(UnknownNameError, match="no channel 'c'"):
        seen_channels(whole, ["c"])
    uneven = Trajectories(whole.states, torch.arange(12, dtype=F64) ** 2)
    with pytest.raises(DataError, match="equally far apart"):
        samples(uneven, 3)
