"""How the error after adaptation falls with the observations given, and with the time spent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leads.adaptation import AdaptSettings, adapt
from leads.dynamics import DecomposedDynamics
from leads.errors import SettingsError
from leads.evaluation.figures import COLOURS, _grid
from leads.evaluation.protocols import evaluate
from leads.trajectories import Trajectories

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ObservationCurve:
    """Forecast errors of environments adapted to ever more observations.

    Attributes:
        frames: observed frames after the starts, over all trajectories, ``(K,)``.
        trajectories: over how many trajectories, ``(K,)``.
        errors: of each environment's test forecasts, ``(K, E)``; infinite where they left the finite numbers.
        metric: their name.
        length: frames after the start of a whole trajectory.
    """

    frames: list[int]
    trajectories: list[int]
    errors: Tensor
    metric: str
    length: int

    def figure(self) -> Figure:
        """Every environment as a thin line, their median as a thick one; where a second trajectory joins is dashed."""
        figure, axes = _grid(1, 1, width=4.6, height=3.2)
        ax = axes[0][0]
        for e in range(self.errors.shape[1]):
            ax.plot(self.frames, self.errors[:, e], color=COLOURS[0], lw=0.8, alpha=0.35)
        ax.plot(self.frames, self.errors.quantile(0.5, dim=1), "o-", color=COLOURS[0], lw=2, ms=4, label="median")
        if max(self.trajectories) > 1:
            ax.axvline(self.length, color="grey", ls="--", lw=0.8)
            ax.text(
                self.length, 0.97, " more trajectories", transform=ax.get_xaxis_transform(), fontsize=7, va="top", color="grey"
            )  # fmt: skip
        ax.set(xlabel="observed frames per environment", ylabel=_words(self.metric), xscale="log", yscale="log")
        _plain_ticks(ax, self.frames)
        return figure


def error_against_observations(
    model: DecomposedDynamics,
    support: Trajectories,
    test: Trajectories,
    metric: str = "relative_l2",
    points: int = 6,
    settings: AdaptSettings | None = None,
) -> ObservationCurve:
    """Adapt to the first frames of one trajectory, then to more and more trajectories, and score the forecasts.

    Args:
        model: trained dynamics.
        support: N trajectories each of E environments; the first gives the frames.
        test: trajectories of the same environments.
        metric: one of ``leads.evaluation.metrics``.
        points: numbers of frames, spread evenly in their logarithm from one frame after the start to all of them.
        settings: of the adaptation.

    Raises:
        SettingsError: fewer than two points.
        ShapeError, DataError, DivergenceError: see :func:`leads.adapt` and :func:`leads.evaluate`.
    """
    if points < 2:
        raise SettingsError(f"A curve needs at least two points, got {points}.")
    history = model.history
    length = len(support.times) - history
    sizes = torch.logspace(0, torch.log10(torch.tensor(float(length))).item(), points).round().int().unique().tolist()
    steps = [(1, k) for k in sizes] + [(n, length) for n in range(2, support.n_trajectories + 1)]
    errors = []
    for n, k in steps:
        part = support.select(trajectories=slice(0, n), frames=slice(0, history + k))
        scores = evaluate(adapt(model, part, settings), test, names=[metric])
        errors.append(scores.per_environment["all"][metric])
    return ObservationCurve([n * k for n, k in steps], [n for n, _ in steps], torch.tensor(errors), metric, length)


@dataclass(frozen=True)
class SolverCurve:
    """The loss of one solver on the support over the time it took.

    Attributes:
        seconds: since the call, ``(K,)``: the whole time, spread evenly over the losses noted.
        losses: the best loss so far of each environment, ``(K, E)``.
    """

    seconds: list[float]
    losses: Tensor


@dataclass(frozen=True)
class SolverCurves:
    """Several solvers on the same support, by name."""

    curves: dict[str, SolverCurve]

    def figure(self) -> Figure:
        """The mean loss over environments against time, one line a solver."""
        figure, axes = _grid(1, 1, width=4.6, height=3.2)
        ax = axes[0][0]
        for i, (name, curve) in enumerate(self.curves.items()):
            ax.plot(
                curve.seconds,
                curve.losses.mean(1),
                "o-",
                ms=3,
                lw=1.6,
                color=COLOURS[i % len(COLOURS)],
                label=name.replace("_", "-"),
            )
        ax.set(xlabel="seconds", ylabel="mean square error on the support", xscale="log", yscale="log")
        ax.legend(frameon=False, fontsize=8)
        return figure


def error_against_time(
    model: DecomposedDynamics,
    support: Trajectories,
    solvers: Mapping[str, Mapping[str, Any]] | Sequence[str] = ("levenberg_marquardt", "gradient"),
    settings: AdaptSettings | None = None,
) -> SolverCurves:
    """Adapt with each solver and note its losses and its time.

    Each solver runs once before on two frames, so that no one-off cost of the first call counts.

    Args:
        model, support, settings: as for :func:`leads.adapt`.
        solvers: names, or settings of each by name, e.g. ``{"gradient": {"steps": 500}}``.

    Raises:
        LeadsError: what :func:`leads.adapt` raises.
    """
    chosen = dict(solvers) if isinstance(solvers, Mapping) else {name: {} for name in solvers}
    base = settings or AdaptSettings()
    brief = support.select(frames=slice(0, model.history + 1))
    curves = {}
    for name, own in chosen.items():
        adapt(model, brief, replace(base, **{**own, "solver": name, "iterations": 1, "steps": 1}))
        info = adapt(model, support, replace(base, **{**own, "solver": name})).info
        losses = torch.tensor(info["losses"], dtype=torch.float64)
        # The first loss is known after one of so many equal parts of the time.
        part = info["seconds"] / len(losses)
        curves[name] = SolverCurve([part * (k + 1) for k in range(len(losses))], losses)
    return SolverCurves(curves)


def _words(metric: str) -> str:
    return {"mse": "mean square error", "relative_l2": "relative error", "rmse": "root mean square error"}.get(
        metric, metric
    )


def _plain_ticks(ax: Any, values: Sequence[int]) -> None:
    """Whole numbers in place of powers of ten, those that have room."""
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    kept = [values[0]]
    for v in values[1:]:
        if v >= 1.4 * kept[-1]:
            kept.append(v)
    ax.xaxis.set_major_locator(FixedLocator(kept))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(ScalarFormatter())
