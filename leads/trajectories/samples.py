"""Long trajectories cut into many samples, hidden channels, and standardised values: data sets as papers on forecasting
from windows have them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leads.errors import SettingsError, UnknownNameError
from leads.integrators.fixed import check_even
from leads.observation import Channels
from leads.registry import nearest
from leads.trajectories.generate import DataSplits
from leads.trajectories.trajectories import Trajectories

STANDARDS = ("none", "channels", "all")


@dataclass(frozen=True)
class Sampling:
    """What of the simulated trajectories models are given.

    Attributes:
        channels: names of those that are seen (all by default).
        standardise: ``"channels"`` (each channel by its mean and standard deviation in the training data), ``"all"`` (by
            those of all channels together) or ``"none"``.
        window: frames of a sample (0: trajectories stay whole).
        stride: frames between the first frames of two samples.
        valid_from: frame of a long trajectory from which on samples validate, while those before it train (0: both sets
            stay as they are).
        test_from: frame from which on the test trajectories count.
        new_until: frames of the unseen environments that count (0: all).
    """

    channels: tuple[str, ...] = ()
    standardise: str = "none"
    window: int = 0
    stride: int = 1
    valid_from: int = 0
    test_from: int = 0
    new_until: int = 0

    def __post_init__(self) -> None:
        if self.standardise not in STANDARDS:
            raise UnknownNameError(
                f"No way to standardise is named {self.standardise!r}. {nearest(self.standardise, STANDARDS)}"
            )
        if min(self.window, self.valid_from, self.test_from, self.new_until) < 0 or self.window == 1 or self.stride < 1:
            raise SettingsError(f"Samples need window 0 or >= 2, stride >= 1, and frames >= 0, got {self}.")


def sampled_splits(data: DataSplits, sampling: Sampling) -> DataSplits:
    """The data sets as ``sampling`` says; scales are those of the training samples.

    Raises:
        SettingsError: a part that leaves a set without a sample.
        UnknownNameError: channels that the data do not have.
    """
    s = sampling
    parts = {
        "train": (data.train, slice(0, s.valid_from or None)),
        "valid": (data.valid, slice(s.valid_from, None)),
        "test": (data.test, slice(s.test_from, None)),
        "adapt": (data.adapt, slice(0, s.new_until or None)),
        "adapt_test": (data.adapt_test, slice(0, s.new_until or None)),
    }
    made = {}
    for name, (whole, frames) in parts.items():
        most = len(range(*frames.indices(len(whole.times))))
        if most < max(s.window, 2):
            raise SettingsError(
                f"The {name} set would have T = {most} of its {len(whole.times)} frames, too few for samples of "
                f"{max(s.window, 2)}. Change window, valid_from, test_from or new_until."
            )
        made[name] = samples(seen_channels(whole.select(frames=frames), s.channels), s.window, s.stride)
    mean, scale = _moments(made["train"], s.standardise)
    return DataSplits(**{name: _standardised(part, mean, scale) for name, part in made.items()})


def samples(data: Trajectories, window: int, stride: int = 1) -> Trajectories:
    """Trajectories of ``window`` frames that start every ``stride`` frames: ``(E, N K, window, C, *X)``, and the times of
    the first. Of one trajectory an environment they are a view, which takes no memory.

    Raises:
        DataError: frames that are not equally far apart.
        SettingsError: fewer frames than a window has.
    """
    if not window:
        return data
    if len(data.times) < window:
        raise SettingsError(f"Samples of {window} frames cannot be cut from T = {len(data.times)}.")
    check_even(data.times, "Cutting samples", "leave trajectories whole (window=0)")
    if data.operator is not None and data.operator.moves:
        raise SettingsError(
            "Samples are put on one clock, and these observations were made by an operator that moves with time (tracks). "
            "Leave trajectories whole (window=0), or cut samples before observing."
        )
    fold = lambda x: x.unfold(2, window, stride).movedim(-1, 3).flatten(1, 2)  # noqa: E731
    mask = None if data.mask is None else fold(data.mask)
    return replace(data, states=fold(data.states), mask=mask, times=data.times[:window])


def seen_channels(data: Trajectories, names: Sequence[str]) -> Trajectories:
    """The data with these channels alone, in this order (all where none is named)."""
    if not names:
        return data
    known = [c.name for c in data.channels]
    for name in names:
        if name not in known:
            raise UnknownNameError(f"The data have no channel {name!r}. {nearest(name, known)}")
    index = [known.index(n) for n in names]
    mask = None if data.mask is None else data.mask[:, :, :, index]
    operator = None if data.operator is None else (data.operator | Channels(tuple(names))).bind(data.operator.bound)
    channels = tuple(data.channels[i] for i in index)
    return replace(data, states=data.states[:, :, :, index], mask=mask, channels=channels, operator=operator)


def _moments(data: Trajectories, standardise: str) -> tuple[Tensor, Tensor] | tuple[None, None]:
    """Mean and standard deviation of what is observed, shape ``(C, 1, ...)``; a constant channel has scale 1."""
    if standardise == "none":
        return None, None
    per_channel = (len(data.state_shape) - 1) * (1,)
    x = data.states.double().movedim(3, 0).flatten(1)
    if data.mask is not None:
        x = torch.where(data.mask.movedim(3, 0).flatten(1), x, torch.nan)
    if standardise == "all":
        x = x.reshape(1, -1)
    mean = x.nanmean(1)
    scale = (x - mean[:, None]).square().nanmean(1).sqrt()
    shape = (-1, *per_channel)
    return mean.reshape(shape), torch.where(scale > 0, scale, 1.0).reshape(shape)


def _standardised(data: Trajectories, mean: Tensor | None, scale: Tensor | None) -> Trajectories:
    if mean is None or scale is None:
        return data
    states = (data.states - mean.to(data.states)) / scale.to(data.states)
    kept = {"standardised_mean": mean.flatten().tolist(), "standardised_scale": scale.flatten().tolist()}
    channels = tuple(replace(c, unit="1") for c in data.channels)
    # Standardised values are no longer what the operator gives.
    return replace(data, states=states, channels=channels, attributes=data.attributes | kept, operator=None)
