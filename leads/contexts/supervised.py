"""An encoder that is told a little of each environment, and that an environment does not change in time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from leads.adapters import Adapter, Context
from leads.contexts.encoder import Encoder, spread_evenly
from leads.contexts.labels import check_names, labels_of, settled
from leads.contexts.source import Dynamics, Objective
from leads.errors import SettingsError
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments, whole


class SupervisedEncoder(Encoder):
    """An :class:`Encoder` with an objective of its own. With z_i the encodings of an environment's windows, d numbers
    each, in the order of trajectories and then of time, and c its labels, which a linear map reads off as ``c(z)``:

        label_weight mean_i |c(z_i) - c|^2 + invariance mean_i |z_{i+1} - z_i|^2 / d + size mean_i (|z_i|^2 / d - 1)^2

    The first term is weak supervision; the second says that an environment does not change; the third keeps the second
    from shrinking all encodings to nothing. The context is ``mean z / sqrt(d)``, of length about 1 whatever d is, so that an
    optimiser's step on what it multiplies does not grow with d. Labels are standardised over the seen environments (a label that is the same
    in all of them is only centred).

    With ``stages=2`` this alone trains the encoder, in a stage before the model, in which it is then held: no gradient
    passes through :meth:`train_contexts`. With ``stages=1`` it is added to the loss of the model.

    Args:
        adapter, state_shape, frames, windows, width, depth, network: of :class:`Encoder`.
        label: what is known: names of parameters, or of :data:`leads.contexts.labels.labels`.
        label_weight, invariance, size: weights of the terms.
        samples: windows of each trajectory in a training step, drawn anew at every step (their number of draws is saved,
            so a resumed run draws the same); without gradients they are spread evenly.
        stages: see above.
        seed: of the draws.
        spread: of :class:`Encoder`.

    Raises:
        SettingsError: settings out of range; at use, where an environment has a single window and invariance is asked
            for.

    Source: Wang et al. (2022), Meta-learning dynamics forecasting using task inference (DyAd), section 3.1 and public
    code. Published: all weights 1, and neighbours are samples that follow each other in a batch of one environment.
    """

    frozen: Tensor
    draws: Tensor
    label_mean: Tensor
    label_scale: Tensor

    def __init__(
        self,
        adapter: Adapter,
        state_shape: tuple[int, ...],
        label: str | Sequence[str] = "varying",
        label_weight: float = 1.0,
        invariance: float = 1.0,
        size: float = 1.0,
        samples: int = 8,
        stages: int = 2,
        seed: int = 0,
        spread: float = 1.0,
        **network: Any,
    ) -> None:
        super().__init__(adapter, state_shape, spread=spread, **network)
        if min(label_weight, invariance, size) < 0 or not label_weight + invariance + size > 0:
            raise SettingsError(
                "The encoder's objective needs weights >= 0 that are not all 0, got "
                f"label_weight={label_weight}, invariance={invariance}, size={size}."
            )
        if stages not in (1, 2) or samples < 1:
            raise SettingsError(
                f"stages is 2 (encoder, then model) or 1 (together) and samples >= 1, got {stages} and {samples}."
            )
        self.label, self.label_weight, self.invariance, self.size = check_names(label), label_weight, invariance, size
        #: The label names that hold for parts of the training data too.
        self.told = self.label
        self.factor = self.out.out_features**-0.5
        with torch.no_grad():
            self.out.bias.div_(self.factor)
        self.samples, self.stages, self.seed = samples, stages, seed
        self.read = nn.Linear(self.out.out_features, len(self.label)) if label_weight else None
        self.register_buffer("frozen", torch.tensor(False))
        self.register_buffer("draws", torch.zeros((), dtype=torch.int64))
        self.register_buffer("label_mean", torch.zeros(len(self.label)))
        self.register_buffer("label_scale", torch.ones(len(self.label)))

    @torch.no_grad()
    def begin(self, data: Trajectories) -> None:
        self.told = settled(data, self.label)
        if self.read is not None and not bool(self.begun):
            known = labels_of(data, self.told)
            deviation = known.std(0, unbiased=False)
            self.label_mean.copy_(known.mean(0))
            self.label_scale.copy_(torch.where(deviation > 0, deviation, 1.0))
        super().begin(data)

    def pretext(self, data: Trajectories) -> Objective | None:
        if self.stages == 1 or bool(self.frozen):
            return None
        return partial(self.objective, known=self._known(data))

    def end_pretext(self) -> None:
        self.frozen.fill_(True)

    def penalty(self, support: Trajectories) -> Tensor:
        if self.stages == 2:
            return super().penalty(support)
        return self.objective(whole(support), self._known(support)).mean()

    def train_contexts(
        self, model: Dynamics, environments: Tensor | None, support: Trajectories, segments: Segments | None = None
    ) -> Context:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not bool(self.frozen)):
            return super().train_contexts(model, environments, support, segments)

    @torch.no_grad()
    def predict(self, support: Trajectories) -> Tensor:
        """The labels of the environments in ``support`` as the encoder sees them, in their own units: ``(E, L)``."""
        if self.read is None:
            raise SettingsError("This encoder was built with label_weight=0 and knows no labels.")
        support = support.to(self.mean.device, self.mean.dtype)
        starts = spread_evenly(self.starts(support.times), self.windows)
        z = self.encode(*self.windows_at(support.states, support.mask, starts))
        answer: Tensor = self.read(z).mean((1, 2)) * self.label_scale + self.label_mean
        return answer

    def objective(self, trajectories: Segments, known: Tensor | None) -> Tensor:
        """The objective of every environment, shape ``(E,)``, on whole trajectories with standardised labels ``(E, L)``."""
        states, mask = _frames(trajectories)
        starts = self._draw(self.starts(trajectories.times))
        z = self.encode(*self.windows_at(states, mask, starts)).flatten(1, 2)
        total = self.size * (z.square().mean(2) - 1).square().mean(1)
        if self.invariance:
            if z.shape[1] < 2:
                raise SettingsError(
                    f"An environment's encodings cannot be compared: it has one window of {self.frames} frames. Give "
                    "longer or more trajectories, fewer frames, or invariance=0."
                )
            total = total + self.invariance * z.diff(dim=1).square().mean((1, 2))
        if self.read is not None and known is not None:
            error = self.read(z) - known[:, None]
            total = total + self.label_weight * error.square().sum(2).mean(1)
        return total

    def _known(self, data: Trajectories) -> Tensor | None:
        if self.read is None:
            return None
        return (labels_of(data, self.told).to(self.label_mean) - self.label_mean) / self.label_scale

    def _draw(self, starts: Tensor) -> Tensor:
        if not torch.is_grad_enabled() or self.samples >= len(starts):
            return spread_evenly(starts, self.samples)
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.draws))
        self.draws += 1
        return starts[torch.randperm(len(starts), generator=generator)[: self.samples].sort().values]


def _frames(trajectories: Segments) -> tuple[Tensor, Tensor | None]:
    """All frames of whole trajectories, and what of them was observed."""
    initial = trajectories.initial[:, :, None]
    states = torch.cat([initial, trajectories.target], 2)
    if trajectories.observed is None:
        return states, None
    return states, torch.cat([torch.isfinite(initial), trajectories.observed], 2)
