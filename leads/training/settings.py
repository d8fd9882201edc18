"""The settings of a training run, and their checks."""

from __future__ import annotations

from dataclasses import dataclass, fields
from numbers import Real

from leads.errors import SettingsError, UnknownNameError
from leads.registry import nearest

SCHEDULES = ("one_cycle", "cosine", "constant")


@dataclass(frozen=True)
class ScheduledSampling:
    """The papers' teacher forcing: before each interior frame the state is reset to the data with probability epsilon.

    The pattern is drawn once per step and shared by the batch. epsilon starts at ``start`` and is multiplied by
    ``decay`` every ``every`` steps; under ``cutoff`` it is zero and the rollout is free.

    Source: public code of LEADS (every 10, no cut-off) and CoDA (every 30, cut-off 1e-3).
    """

    start: float = 0.99
    decay: float = 0.99
    every: int = 30
    cutoff: float = 1e-3

    def __post_init__(self) -> None:
        if not 0 <= self.start <= 1 or not 0 < self.decay <= 1 or self.every < 1:
            raise SettingsError(f"Scheduled sampling needs 0 <= start <= 1, 0 < decay <= 1 and every >= 1, got {self}.")

    def epsilon(self, step: int) -> float:
        """Probability of a restart at step ``step``."""
        value = self.start * self.decay ** (step // self.every)
        return 0.0 if value < self.cutoff else value


@dataclass(frozen=True)
class TrainerSettings:
    """How a model is trained.

    Attributes:
        steps: optimiser steps.
        lr: peak learning rate of Adam.
        context_lr: learning rate of the contexts, or of whatever gives them, where it differs.
        weight_decay: Adam's pull of all trained numbers towards zero (the gradient of ``weight_decay / 2`` times the sum
            of their squares).
        source_steps: optimiser steps of the first stage, for models whose context source is trained before them and
            without them (0: as many as ``steps``).
        schedule: ``"one_cycle"`` (linear warm-up, cosine decay), ``"cosine"`` or ``"constant"``.
        warmup: share of the steps in which one_cycle rises.
        betas: Adam's averaging constants.
        clip: largest gradient norm (0: no clipping).
        horizons: curriculum of window lengths, each for an equal share of the steps unless ``shares`` says otherwise;
            0 stands for the whole trajectory.
        shares: share of the steps given to each horizon.
        scheduled_sampling: used instead of ``horizons`` where given.
        alternate: shared weights and contexts move in turn, for so many steps each (0: as the model's context source
            asks, by default both in every step).
        proximal: beta of ``beta / 2 mean (z - z_0)^2``, which holds what moves in a block of the alternation near its
            values when the block began.
        batch: trajectories per environment in a step (0: all).
        support: how many of them are support, from which contexts are found; the others are query, on which the loss
            is taken (0: the batch is both).
        support_frames: instead, the first so many frames of every trajectory are support and the frames from the last
            of these on are query (0: off).
        environments_per_step: environments in a step, drawn at random from all (0: all). Penalties are then those of
            the environments drawn.
        fresh_environments: train on so many environments drawn from the family's distribution, with initial states of
            their own, instead of the seen ones (0: off). See :class:`leads.training.fresh.FreshEnvironments`.
        fresh_every: steps after which these are drawn anew.
        average: decay of the exponential moving average of all weights that is validated and returned (0: none).
        validate_every: steps between validations.
        patience: validations without improvement after which training stops (0: never).
        checkpoint_every: steps between checkpoints.
        polish: L-BFGS iterations after the last step (see :func:`leads.training.polish.polished`); each takes a rollout of
            all training data and its gradient, in float64. For data without noise.
        polish_horizon: frames of the windows of these iterations (0: whole trajectories).
        seed: of the drawing of batches and restarts.
    """

    steps: int = 10_000
    lr: float = 3e-3
    context_lr: float | None = None
    weight_decay: float = 0.0
    source_steps: int = 0
    schedule: str = "one_cycle"
    warmup: float = 0.05
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float = 1.0
    horizons: tuple[int, ...] = (1, 2, 5, 10, 0)
    shares: tuple[float, ...] = ()
    scheduled_sampling: ScheduledSampling | None = None
    alternate: int = 0
    proximal: float = 0.0
    batch: int = 0
    support: int = 0
    support_frames: int = 0
    environments_per_step: int = 0
    fresh_environments: int = 0
    fresh_every: int = 100
    average: float = 0.0
    validate_every: int = 250
    patience: int = 0
    checkpoint_every: int = 1000
    polish: int = 0
    polish_horizon: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        for f in fields(self):
            value, kind = getattr(self, f.name), type(f.default)
            if kind in (int, float) and (isinstance(value, bool) or not isinstance(value, Real)):
                raise SettingsError(f"{f.name} needs a number, got {value!r}.")
        for name in ("steps", "validate_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if not self.lr > 0 or (self.context_lr is not None and not self.context_lr > 0):
            raise SettingsError(f"Learning rates must be positive, got lr={self.lr}, context_lr={self.context_lr}.")
        if self.weight_decay < 0 or self.source_steps < 0:
            raise SettingsError(
                f"weight_decay and source_steps need to be >= 0, got {self.weight_decay} and {self.source_steps}."
            )
        if self.schedule not in SCHEDULES:
            raise UnknownNameError(f"No schedule is named {self.schedule!r}. {nearest(self.schedule, SCHEDULES)}")
        if not self.horizons or min(self.horizons) < 0:
            raise SettingsError(f"horizons needs window lengths >= 1 (0: whole trajectories), got {self.horizons}.")
        if self.shares and (len(self.shares) != len(self.horizons) or min(self.shares) < 0 or not sum(self.shares) > 0):
            raise SettingsError(
                f"shares needs one non-negative entry per horizon, got {self.shares} for {self.horizons}."
            )
        if self.polish < 0 or self.polish_horizon < 0:
            raise SettingsError(
                f"polish and polish_horizon need to be >= 0, got {self.polish} and {self.polish_horizon}."
            )
        if self.alternate < 0 or self.proximal < 0:
            raise SettingsError(f"alternate and proximal need to be >= 0, got {self.alternate} and {self.proximal}.")
        self._check_support()
        self._check_environments()
        if not 0 <= self.warmup <= 1 or not 0 <= self.average < 1:
            raise SettingsError(
                f"warmup needs to be in [0, 1] and average in [0, 1), got {self.warmup}, {self.average}."
            )

    def _check_support(self) -> None:
        if self.support < 0 or 0 < self.batch <= self.support:
            raise SettingsError(
                f"support needs to be 0 or leave a trajectory of the batch for the query, got support={self.support}, "
                f"batch={self.batch}."
            )
        if self.support_frames < 0 or self.support_frames == 1:
            raise SettingsError(f"support_frames needs to be 0 or at least two frames, got {self.support_frames}.")
        if self.support and self.support_frames:
            raise SettingsError(
                "Support is split off by trajectory or by time, not both: set support or support_frames to 0."
            )

    def _check_environments(self) -> None:
        if self.environments_per_step < 0 or self.fresh_environments < 0 or self.fresh_every < 1:
            raise SettingsError(
                "environments_per_step and fresh_environments need to be >= 0 and fresh_every >= 1, got "
                f"{self.environments_per_step}, {self.fresh_environments}, {self.fresh_every}."
            )
        if 0 < self.fresh_environments < self.environments_per_step:
            raise SettingsError(
                f"environments_per_step={self.environments_per_step} asks for more environments than the "
                f"{self.fresh_environments} fresh ones."
            )

    def horizon(self, step: int) -> int:
        """Window length at step ``step``; 0 for whole trajectories."""
        shares = self.shares or (1.0,) * len(self.horizons)
        progress, passed = step / self.steps * sum(shares), 0.0
        for horizon, share in zip(self.horizons, shares, strict=True):
            passed += share
            if progress < passed:
                return horizon
        return self.horizons[-1]
