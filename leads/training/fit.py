"""The training loop. It knows no method, system or backbone by name."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from leads.adapters import Context
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.errors import DivergenceError
from leads.integrators import gradients_once
from leads.training.alternation import Alternation
from leads.training.checkpoints import load_checkpoint, save_checkpoint
from leads.training.checks import backward, check_data, diverged, keeps_rows, replaced
from leads.training.episodes import Episode, Episodes
from leads.training.files import save_model
from leads.training.logging import Logger, ProgressBar, TensorBoardLogger
from leads.training.optimisation import WeightAverage, make_optimizer, rate
from leads.training.polish import polished
from leads.training.processes import Processes
from leads.training.settings import TrainerSettings
from leads.training.stages import SourceTraining, source_settings
from leads.trajectories import Trajectories
from leads.trajectories.cache import write_whole

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class FitResult:
    """What a training run gives: one row per validation, the step whose weights were kept, and the time."""

    history: list[dict[str, Any]]
    best_step: int
    best_valid: float | None
    seconds: float


def fit(
    model: DecomposedDynamics,
    train: Trajectories,
    valid: Trajectories | None = None,
    settings: TrainerSettings | None = None,
    run_dir: str | Path | None = None,
    progress: bool = False,
    loggers: Sequence[Logger] = (),
    family: EnvironmentFamily | None = None,
    processes: Processes | None = None,
    **overrides: Any,
) -> FitResult:
    """Train the shared weights and the contexts of the seen environments.

    Where the context source has an objective of its own (:meth:`leads.contexts.ContextSource.pretext`), it is trained on
    that first, for ``source_steps``, and then held.

    Args:
        model: trained in place; it ends with the weights that were best on ``valid`` (the last ones without it).
        train: trajectories of the seen environments.
        valid: other trajectories of the same environments, on which the weights are chosen. Test data never are.
        settings: see :class:`TrainerSettings`; ``overrides`` replace single ones.
        run_dir: where checkpoints, the model, the history and TensorBoard events go. A run that was killed there
            goes on from its last checkpoint to the same numbers.
        progress: show a progress bar.
        loggers: further receivers of the records.
        family: where fresh environments are drawn from (``fresh_environments``). Weights are still chosen on ``valid``,
            with contexts found on ``train``.
        processes: those that ``torchrun`` started, see :func:`leads.training.launched`: each takes a part of every step.

    Raises:
        DivergenceError: the loss left the finite numbers; names the step and the environment. The last checkpoint and
            the best weights so far are kept.
        ShapeError, SettingsError, CheckpointError: data, settings or a checkpoint that do not fit.
        WorkerError: another process of the run has stopped.
    """
    settings = replaced(settings, overrides)
    check_data(model, train, valid)
    if settings.fresh_environments and model.source.per_environment:
        raise keeps_rows(model)
    folder = None if run_dir is None else Path(run_dir)
    model.source.begin(train)
    resumes = folder is not None and (folder / CHECKPOINT).exists()
    before = 0.0 if resumes else _train_source(model, train, valid, settings, folder, progress, processes)
    run = _Run(model, train, valid, settings, folder, family, processes)
    run.seconds += before
    receivers = [*loggers] if run.writes else []
    if progress and run.writes:
        receivers.append(ProgressBar(settings.steps, run.step))
    if folder is not None and run.writes:
        receivers.append(TensorBoardLogger(folder / "tensorboard", asdict(settings) | _flat(model.recipe)))
    try:
        run.train(receivers)
    finally:
        run.finish()
        for logger in receivers:
            logger.close({"best_valid": run.best_valid, "best_step": run.best_step, "seconds": run.seconds})
    valid_value = run.best_valid if math.isfinite(run.best_valid) else None
    return FitResult(run.history, run.best_step, valid_value, run.seconds)


def _train_source(
    model: DecomposedDynamics,
    train: Trajectories,
    valid: Trajectories | None,
    settings: TrainerSettings,
    folder: Path | None,
    progress: bool,
    processes: Processes | None,
) -> float:
    """The first stage, where the context source has one: its own run, in ``folder / "source"``; returns its seconds."""
    objective = model.source.pretext(train)
    if objective is None:
        return 0.0
    stage, place = SourceTraining(model.source, objective), None if folder is None else folder / "source"
    alike = None if processes is None else processes.undivided()
    result = fit(stage, train, valid, source_settings(settings), run_dir=place, progress=progress, processes=alike)
    model.source.end_pretext()
    return result.seconds


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        model: DecomposedDynamics,
        train: Trajectories,
        valid: Trajectories | None,
        settings: TrainerSettings,
        folder: Path | None,
        family: EnvironmentFamily | None,
        processes: Processes | None = None,
    ) -> None:
        self.model, self.train_data, self.valid, self.settings, self.folder = model, train, valid, settings, folder
        self.writes = processes is None or processes.writes
        self.processes = processes if processes is not None and processes.deals else None
        self.episodes = Episodes(train, settings, family, model.history)
        self.optimizer = make_optimizer(model, settings)
        self.average = WeightAverage(model, settings.average)
        self.turns = Alternation(model, settings)
        self.step, self.best_step, self.stale, self.seconds, self.polished = 0, 0, 0, 0.0, False
        self.best_valid = math.inf
        self.history: list[dict[str, Any]] = []
        self.best = self._weights()
        if folder is not None and (folder / CHECKPOINT).exists():
            self.best, state = load_checkpoint(
                folder / CHECKPOINT, model, self.optimizer, self.average, self.turns, settings
            )
            vars(self).update(state)
        if processes is not None:
            # No one writes a checkpoint before all have read the last.
            processes.wait()

    def train(self, loggers: Sequence[Logger]) -> None:
        s = self.settings
        started = time.perf_counter() - self.seconds
        while self.step < s.steps and not (s.patience and self.stale >= s.patience):
            loss = self._update()
            self.step += 1
            if self.step % s.validate_every == 0 or self.step == s.steps:
                self.seconds = time.perf_counter() - started
                row = self._validate(loss)
                for logger in loggers:
                    logger.record(row)
            if self.folder is not None and self.step % s.checkpoint_every == 0:
                self.seconds = time.perf_counter() - started
                self._checkpoint()
        if s.polish and not self.polished:
            self._polish(loggers, started)

    def _polish(self, loggers: Sequence[Logger], started: float) -> None:
        """Go on from the chosen weights by L-BFGS; what is best on the validation data is kept, once all is done."""
        if self.valid is None:
            self.average.swap()
            self.best, self.best_valid = self._weights(), math.inf
            self.average.swap()
        live = self._weights()
        self.model.load_state_dict(self.best)
        kept = (self.best, self.best_step, self.best_valid)
        for done, loss, weights in polished(self.model, self.train_data, self.settings):
            self.model.load_state_dict(weights)
            value = None if self.valid is None else self._score(self.valid)
            if value is None or value < kept[2]:
                kept = (self._weights(), self.step + done, math.inf if value is None else value)
            self.seconds = time.perf_counter() - started
            row = {"step": self.step + done, "loss": loss, "valid": value, "lr": 0.0}
            row |= {"horizon": self.settings.polish_horizon, "seconds": self.seconds}
            self.history.append(row)
            for logger in loggers:
                logger.record(row)
        self.model.load_state_dict(live)
        self.best, self.best_step, self.best_valid = kept
        self.polished = True

    def _update(self) -> float:
        """One optimiser step; returns the data loss, averaged over environments."""
        episode = self.episodes.draw(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * rate(self.settings, self.step)
        try:
            contexts = self.model.source.train_contexts(
                self.model, episode.environments, episode.support, segments=episode.support_segments
            )
        except DivergenceError as error:
            where = f"At training step {self.step}{self._which()}"
            raise DivergenceError(f"{where}: {error} The best weights so far are kept.") from error
        with gradients_once():
            per_environment, data_loss = self._loss(episode, contexts)
        value = float(data_loss.detach())
        if not math.isfinite(value):
            raise diverged(f"{self.step}{self._which()}", per_environment, episode)
        self.optimizer.zero_grad(set_to_none=True)
        self.turns.begin(self.step)
        penalty = self.model.penalty(contexts, episode.query) + self.model.source.penalty(episode.support)
        if self.processes is None:
            backward(data_loss + penalty)
        else:
            backward(data_loss + penalty / self.processes.size)
            value = self.processes.add_up((p for g in self.optimizer.param_groups for p in g["params"]), data_loss)
        self.turns.hold(self.step)
        if self.settings.clip:
            nn.utils.clip_grad_norm_((p for g in self.optimizer.param_groups for p in g["params"]), self.settings.clip)
        self.optimizer.step()
        self.average.update(self.step)
        self.model.adapter.after_step(data_loss.detach().new_tensor(value))
        return value

    def _loss(self, episode: Episode, contexts: Context) -> tuple[Tensor, Tensor]:
        """Losses of environments, and what this process adds to the mean over all."""
        segments = episode.query_segments
        if self.processes is None:
            losses = self.model.loss_per_environment(segments, contexts)
            return losses, losses.mean()
        part = self.processes.part(segments, self.model.loss)
        if not len(part.rows):
            # More processes than rows: this one has nothing to forecast, and adds a zero that has a gradient.
            target = segments.target
            return target.new_zeros(target.shape[0]), target.new_zeros(()).requires_grad_()
        losses = self.model.loss_per_environment(part.segments, part.contexts(contexts))
        everyone = losses.detach().new_zeros(segments.target.shape[0]).index_copy(0, part.rows, losses.detach())
        return everyone, (part.weights * losses).sum()

    def _which(self) -> str:
        """What an environment's number counts, where it is not a seen one's."""
        return " (environments counted among the fresh ones drawn for it)" if self.episodes.fresh else ""

    def _validate(self, loss: float) -> dict[str, Any]:
        """Score the averaged weights on whole validation trajectories and keep them where they are the best."""
        value: float | None = None
        if self.valid is not None:
            self.average.swap()
            value = self._score(self.valid)
            if value < self.best_valid:
                self.best_valid, self.best_step, self.stale, self.best = value, self.step, 0, self._weights()
            else:
                self.stale += 1
            self.average.swap()
        row = {
            "step": self.step,
            "loss": loss,
            "valid": value,
            "lr": self.optimizer.param_groups[0]["lr"],
            "horizon": self.settings.horizon(self.step - 1),
            "seconds": self.seconds,
        }
        self.history.append(row)
        return row

    @torch.no_grad()
    def _score(self, valid: Trajectories) -> float:
        """Loss on whole validation trajectories, with contexts that have seen the training data alone (where labels are
        unknown: with those contexts, of the seen ones, that suit the validation data best)."""
        source = self.model.source
        try:
            contexts = source.train_contexts(self.model, None, self.train_data if source.labelled else valid)
        except DivergenceError:
            return math.inf
        value = float(self.model.loss_per_environment(valid, contexts).mean())
        return value if math.isfinite(value) else math.inf

    def finish(self) -> None:
        """Leave the chosen weights in the model and write the run's files."""
        if self.valid is None and not self.polished:
            self.average.swap()
            self.best, self.best_step = self._weights(), self.step
        if self.folder is not None and self.writes and self.model.recipe and self.step:
            if self.valid is None and not self.polished:
                self.average.swap()
            self._checkpoint()
        self.model.load_state_dict(self.best)
        if self.folder is None or not self.writes:
            return
        if self.model.recipe:
            save_model(self.model, self.folder / "model.safetensors")
        write_whole(self.folder / "history.json", json.dumps(self.history, indent=1).encode())

    def _checkpoint(self) -> None:
        if self.folder is None or not self.writes:
            return
        names = ("step", "best_step", "stale", "seconds", "best_valid", "history", "polished")
        state = {name: getattr(self, name) for name in names}
        path = self.folder / CHECKPOINT
        save_checkpoint(path, self.model, self.optimizer, self.average, self.turns, self.best, state, self.settings)

    def _weights(self) -> dict[str, Tensor]:
        return {k: v.detach().clone() for k, v in self.model.state_dict().items()}


def _flat(recipe: dict[str, Any]) -> dict[str, Any]:
    return {f"model.{k}": v for k, v in recipe.items()}
