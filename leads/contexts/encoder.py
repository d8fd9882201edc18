"""Contexts read off a few frames by a network."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from leads.adapters import Adapter, Context
from leads.contexts.source import ContextSource, Dynamics, match_rows
from leads.contexts.window_networks import WindowConv, WindowMLP
from leads.errors import DataError, SettingsError, UnknownNameError
from leads.registry import nearest
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments

NETWORKS = ("auto", "mlp", "conv")
#: Numbers that are encoded at a time where no gradient is asked for.
AT_ONCE = 2**24


class Encoder(ContextSource):
    """``c_e = mean over windows of [A phi(x_j, ..., x_{j+k-1}) / sqrt(F) + b]``: an amortised answer, without a gradient step.

    phi is a network with F features over k consecutive frames, normalised by mean and standard deviation of the training data's
    channels. A and b lead to all entries of the context side by side; b starts at the adapter's own starting context,
    and with ``spread=0`` so does every environment. Windows are the first k frames of every support trajectory, or
    ``windows`` ones spread evenly over it; the mean is over windows and trajectories. Entries that were not observed
    count as the channel's mean. All is trained with the model; a new environment takes one forward pass, from which
    ``adapt(solver="levenberg_marquardt")`` may go on.

    Args:
        adapter: the adapter whose contexts are given.
        state_shape: ``(C, *X)`` of the data.
        frames: k. Frames must be as far apart as those of the training data.
        windows: most windows in each trajectory.
        width, depth: of the network.
        network: ``"mlp"`` (over all numbers of a window), ``"conv"`` (over time and space) or ``"auto"``: the first for
            states without space axes, the second on grids.
        spread: A starts uniform in ``spread * [-1, 1]`` (1 gives a fresh layer of torch; the root of F stands outside A so
            that one optimiser step moves contexts no more than other weights).

    Raises:
        SettingsError: at construction, for settings out of range, or an adapter without a context.
        DataError: at use, for data with fewer than k frames, or frames at other distances than in training.

    Sources: Wang et al. (2022), Meta-learning dynamics forecasting using task inference, section 3.1 (an encoder that
    infers the environment from a window); Garnelo et al. (2018), Conditional neural processes (mean of encodings).
    """

    complete = True
    #: Contexts are the encodings times this.
    factor: float = 1.0
    mean: Tensor
    scale: Tensor
    gaps: Tensor
    begun: Tensor

    def __init__(
        self,
        adapter: Adapter,
        state_shape: tuple[int, ...],
        frames: int = 5,
        windows: int = 1,
        width: int = 64,
        depth: int = 2,
        network: Literal["auto", "mlp", "conv"] = "auto",
        spread: float = 0.0,
    ) -> None:
        super().__init__()
        if network not in NETWORKS:
            raise UnknownNameError(f"No network of an encoder is named {network!r}. {nearest(str(network), NETWORKS)}")
        if frames < 2 or windows < 1 or width < 1 or depth < 1:
            raise SettingsError(
                f"An encoder needs frames >= 2 and windows, width and depth >= 1, got {frames}, {windows}, {width}, {depth}."
            )
        start = adapter.init_context()
        if not start:
            raise SettingsError(
                f"{type(adapter).__name__} has no context that an encoder could give. Use an adapter with one, e.g. "
                "linear_hyper."
            )
        self.frames, self.windows, self.state_shape = frames, windows, tuple(state_shape)
        self.shapes = {name: tuple(value.shape) for name, value in start.items()}
        plain = network == "mlp" or (network == "auto" and len(state_shape) == 1)
        self.network: nn.Module = (
            WindowMLP(self.state_shape, frames, width, depth) if plain else WindowConv(self.state_shape, width, depth)
        )
        features: int = self.network.features  # type: ignore[assignment]
        flat = torch.cat([value.detach().flatten() for value in start.values()])
        self.out = nn.Linear(features, len(flat))
        with torch.no_grad():
            self.out.weight.uniform_(-1, 1).mul_(spread)
            self.out.bias.copy_(flat)
        per_channel = (state_shape[0], *(1,) * (len(state_shape) - 1))
        self.register_buffer("mean", torch.zeros(per_channel))
        self.register_buffer("scale", torch.ones(per_channel))
        self.register_buffer("gaps", torch.zeros(frames - 1))
        self.register_buffer("begun", torch.tensor(False))

    @torch.no_grad()
    def begin(self, data: Trajectories) -> None:
        """Keep the channels' mean and deviation and the distance of frames, the first time."""
        if bool(self.begun):
            return
        x = data.states.double().movedim(3, 0).flatten(1)
        if data.mask is None:
            mean, square = x.mean(1), x.var(1, unbiased=False)
        else:
            seen = data.mask.movedim(3, 0).flatten(1)
            count = seen.sum(1).clamp_min(1)
            mean = torch.where(seen, x, 0.0).sum(1) / count
            square = torch.where(seen, (x - mean[:, None]).square(), 0.0).sum(1) / count
        deviation = square.sqrt()
        self.mean.copy_(mean.reshape(self.mean.shape))
        self.scale.copy_(torch.where(deviation > 0, deviation, 1.0).reshape(self.scale.shape))
        self.gaps.copy_(data.times[: self.frames].diff())
        self.begun.fill_(True)

    def check(self, data: Trajectories) -> None:
        self.starts(data.times)

    def starts(self, times: Tensor) -> Tensor:
        """Frames at which windows may start: those followed by k - 1 others at the distances of the training data.

        Raises:
            DataError: there are none.
        """
        if len(times) < self.frames:
            raise DataError(
                f"The encoder reads {self.frames} consecutive frames, the data it is given have T = {len(times)}. Give "
                f"more frames, or build the model with frames={max(len(times), 2)} or fewer."
            )
        first = torch.arange(len(times) - self.frames + 1)
        if not bool(self.begun):
            return first
        gaps = times.unfold(0, self.frames, 1).diff(dim=1)
        known = self.gaps.cpu().double()
        fits = ((gaps - known).abs() <= 1e-3 * known.mean()).all(1)
        if not bool(fits.any()):
            raise DataError(
                f"The encoder was trained on frames {_list(known)} apart; those it is given are {_list(gaps[0])} apart. "
                "Resample them, or let adapt fit the context of a model with another source."
            )
        return first[fits]

    def encode(self, windows: Tensor, observed: Tensor | None = None) -> Tensor:
        """``A phi / sqrt(F) + b`` of windows ``(..., k, C, *X)``, shape ``(..., d)``: all entries of a context side by side."""
        x = (windows - self.mean) / self.scale
        if observed is not None:
            x = torch.where(observed, x, x.new_zeros(()))
        leading = x.shape[: x.ndim - 1 - len(self.state_shape)]
        flat = x.reshape(-1, self.frames, *self.state_shape)
        # Gradients need all of it in memory at once; without them, only as much as is read at a time.
        most = len(flat) if torch.is_grad_enabled() else max(1, AT_ONCE // max(1, flat[:1].numel()))
        features = torch.cat([self.network(part) for part in flat.split(max(1, most))])
        codes: Tensor = self.out(features / math.sqrt(features.shape[1]))
        return codes.reshape(*leading, -1)

    def windows_at(self, states: Tensor, mask: Tensor | None, starts: Tensor) -> tuple[Tensor, Tensor | None]:
        """Windows of ``states`` ``(E, N, T, C, *X)`` and of their mask: ``(E, N, K, k, C, *X)``."""
        index = (starts[:, None] + torch.arange(self.frames)).to(states.device)
        return states[:, :, index], None if mask is None else mask[:, :, index]

    def train_contexts(
        self, model: Dynamics, environments: Tensor | None, support: Trajectories, segments: Segments | None = None
    ) -> Context:
        del segments
        match_rows(environments, support)
        return self._contexts(model, support)

    @torch.no_grad()
    def new_contexts(self, model: Dynamics, support: Trajectories) -> Context:
        return self._contexts(model, support)

    def _contexts(self, model: Dynamics, support: Trajectories) -> Context:
        starts = spread_evenly(self.starts(support.times), self.windows)
        mean = self.factor * self.encode(*self.windows_at(support.states, support.mask, starts)).mean((1, 2))
        parts = mean.split([math.prod(shape) for shape in self.shapes.values()], 1)
        contexts = {k: p.reshape(-1, *shape) for (k, shape), p in zip(self.shapes.items(), parts, strict=True)}
        return {**contexts, **model.adapter.given(support.parameters)}


def spread_evenly(starts: Tensor, count: int) -> Tensor:
    """At most ``count`` of ``starts``, the first among them and, of two or more, the last."""
    if count >= len(starts):
        return starts
    if count == 1:
        return starts[:1]
    return starts[[round(i * (len(starts) - 1) / (count - 1)) for i in range(count)]]


def _list(gaps: Tensor) -> str:
    """Distances of frames in words: one number where they are equal."""
    values = [f"{v:g}" for v in gaps.tolist()]
    return values[0] if len(set(values)) == 1 else ", ".join(values)
