"""One training run on several processes, as ``torchrun`` starts them: every one takes a part of each step's loss."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leads.adapters import Context
from leads.errors import SettingsError, UnknownNameError, WorkerError
from leads.registry import nearest
from leads.trajectories.segments import Segments

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SPLITS = ("environments", "trajectories")
#: How long the others are asked who is missing, once one has gone.
PATIENCE = datetime.timedelta(seconds=10)


@dataclass(frozen=True)
class Part:
    """One process' part of a step.

    Attributes:
        segments: what it forecasts.
        rows: the environments among those of the step, shape ``(E',)``.
        weights: of their losses, ``(E',)``, such that the weighted losses of all processes sum to the step's mean.
    """

    segments: Segments
    rows: Tensor
    weights: Tensor

    def contexts(self, contexts: Context) -> Context:
        """The rows of the step's contexts that belong to this part."""
        return {k: v[self.rows.to(v.device)] for k, v in contexts.items()}


class Processes:
    """The processes of one run.

    Every process holds the whole model and the whole data and draws the same episodes. It forecasts its part of each
    (every so-manieth environment, or segment of trajectories), and gradients are summed over the processes before they
    are clipped, so that a run equals one on a single process to rounding. Contexts and penalties are computed by all:
    they are cheap where contexts are a table; inner loops are not sped up. Only process 0 writes files.

    Args:
        fabric: launched on all processes.
        split: ``"environments"`` or ``"trajectories"``: what is dealt out.

    Raises:
        UnknownNameError: no such split.
    """

    def __init__(self, fabric: Fabric, split: str = "environments") -> None:
        if split not in SPLITS:
            raise UnknownNameError(f"No way to split a step is named {split!r}. {nearest(split, SPLITS)}")
        self.fabric, self.split = fabric, split
        self.rank, self.size = fabric.global_rank, fabric.world_size
        self.deals = self.size > 1

    @property
    def writes(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def undivided(self) -> Processes:
        """The same processes, of which each takes whole steps (for a stage whose loss cannot be dealt out)."""
        same = Processes(self.fabric, self.split)
        same.deals = False
        return same

    def part(self, segments: Segments, loss: str) -> Part:
        """This process' part of a step's segments; it may be empty where there are fewer rows than processes."""
        e, n = segments.target.shape[:2]
        device = segments.target.device
        dealt = lambda count: torch.tensor(range(count)[self.rank :: self.size], dtype=torch.long, device=device)  # noqa: E731
        if self.split == "environments":
            rows = dealt(e)
            return Part(_rows(segments, rows), rows, segments.target.new_full((len(rows),), 1 / e))
        columns = dealt(n)
        own = _columns(segments, columns)
        rows = torch.arange(e, device=device)
        if loss == "mse":
            weights = own.count(own.target) / segments.count(segments.target) / e
        else:
            weights = own.target.new_tensor(len(columns) / n / e)
        return Part(own, rows if len(columns) else rows[:0], weights.expand(e)[: e if len(columns) else 0])

    def add_up(self, parameters: Iterable[torch.nn.Parameter], loss: Tensor) -> float:
        """Sum gradients over the processes in place, and return the sum of ``loss``.

        Raises:
            WorkerError: another process has gone; names its rank where that can be known.
        """
        parameters = list(parameters)
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.cat([loss.detach().reshape(1).to(gradients[0]), *(g.flatten() for g in gradients)])
        flat = self._together("adding up gradients", flat)
        for p, g in zip(parameters, flat[1:].split([p.numel() for p in parameters]), strict=True):
            p.grad = g.view_as(p).clone()
        return float(flat[0])

    def wait(self) -> None:
        """Go on once all have come here."""
        self._together("waiting for each other", torch.zeros(1, device=self.fabric.device))

    def _together(self, doing: str, values: Tensor) -> Tensor:
        try:
            summed: Any = self.fabric.all_reduce(values, reduce_op="sum")
        except RuntimeError as error:
            gone = self._missing()
            who = f"process {', '.join(map(str, gone))}" if gone else "another process"
            raise WorkerError(
                f"Process {self.rank} of {self.size} cannot go on {doing}: {who} (counted from 0) has stopped; its own "
                "output says why. The last checkpoint is whole: start the same command again to go on from it."
            ) from error
        return summed  # type: ignore[no-any-return]

    def _missing(self) -> list[int]:
        """Ranks that do not answer, as far as this process can tell."""
        try:
            torch.distributed.monitored_barrier(timeout=PATIENCE, wait_all_ranks=True)
        except (RuntimeError, ValueError) as error:
            named = re.search(r"[Rr]anks?:? ((?:\d+(?:, ?)?)+) failed|(\d+) failed to pass", str(error))
            found = (named[1] or named[2]) if named else ""
            return [int(r) for r in re.findall(r"\d+", found) if int(r) != self.rank]
        return []


def launched(accelerator: str = "auto", split: str = "environments") -> Processes | None:
    """The processes that ``torchrun`` has started, or ``None`` where this is a process of its own.

    Raises:
        SettingsError: processes that cannot reach each other, or devices that are not there.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) < 2:
        return None
    from lightning_fabric import Fabric

    here, everywhere = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), int(os.environ["WORLD_SIZE"])
    try:
        fabric = Fabric(accelerator=accelerator, devices=here, num_nodes=max(1, everywhere // here), strategy="ddp")
        fabric.launch()
    except (ValueError, RuntimeError) as error:
        raise SettingsError(
            f"{everywhere} processes cannot start on {accelerator!r}: {error}. Ask torchrun for as many as there are devices "
            "(--nproc-per-node), or choose device=cpu."
        ) from error
    return Processes(fabric, split)


def reports() -> bool:
    """Whether this process speaks for the run: all others of one under ``torchrun`` keep silent."""
    return int(os.environ.get("RANK", "0")) == 0


def _rows(segments: Segments, rows: Tensor) -> Segments:
    observed = segments.observed
    if observed is not None and observed.shape[0] > 1:
        observed = observed[rows]
    return replace(segments, initial=segments.initial[rows], target=segments.target[rows], observed=observed)


def _columns(segments: Segments, columns: Tensor) -> Segments:
    observed, times = segments.observed, segments.times
    if observed is not None and observed.shape[1] > 1:
        observed = observed[:, columns]
    if times.ndim == 3 and times.shape[2] > 1:
        times = times[:, :, columns.to(times.device)]
    return replace(
        segments,
        initial=segments.initial[:, columns],
        target=segments.target[:, columns],
        times=times,
        observed=observed,
    )
