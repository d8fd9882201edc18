from __future__ import annotations

import pytest
import torch

from leads.errors import SettingsError
from leads.trajectories import DataSplits, Trajectories
from leads.trajectories.segments import cut, whole, windows


def counting() -> Trajectories:
    """State = frame number, so that segments can be read off."""
    x = torch.arange(7.0)[None, None, :, None].repeat(2, 3, 1, 1)
    return Trajectories(x, torch.tensor([0.0, 1, 2, 4, 5, 6, 9], dtype=torch.float64))


@pytest.mark.parametrize("horizon", [1, 2, 3, 4, 5, 6, 9])
def test_windows_cover_every_frame(horizon: int) -> None:
    s = windows(counting(), horizon)
    assert set(s.target.unique().tolist()) == {1.0, 2, 3, 4, 5, 6}
    assert s.observed is None
    assert s.target.shape[2] == min(horizon, 6)
    assert torch.equal(s.target[:, :, 0] - s.initial, torch.ones_like(s.initial))


def test_ragged_segments_are_padded_and_masked() -> None:
    s = cut(counting(), [0, 1, 4], [1, 3, 2])
    assert s.initial.shape == (2, 9, 1)
    assert s.target.shape == (2, 9, 3, 1)
    assert s.observed is not None
    assert s.observed[0, :3, :, 0].tolist() == [[True, False, False], [True, True, True], [True, True, False]]
    assert s.times.shape == (4, 1, 9)
    assert s.times[:, 0, 0].tolist() == [0, 1, 1, 1]
    assert s.times[:, 0, 1].tolist() == [1, 2, 4, 5]
    assert float(s.count(s.target)[0]) == 3 * 6


def test_whole_is_one_segment(data: DataSplits) -> None:
    s = whole(data.train)
    assert torch.equal(s.target, data.train.states[:, :, 1:])
    with pytest.raises(SettingsError):
        windows(data.train, 0)
