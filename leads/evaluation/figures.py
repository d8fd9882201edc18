"""Figures. Each function returns a matplotlib figure and touches no global state."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from leads.contexts.flat import flatten
from leads.errors import ShapeError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from leads.adaptation import Adapted
    from leads.evaluation.protocols import Evaluation
    from leads.trajectories import Trajectories

COLOURS = ("#1b6ca8", "#d1495b", "#3a7d44", "#8d5a97", "#e09f3e", "#4d908e", "#7f5539")


def trajectories(forecast: Tensor, truth: Trajectories, trajectory: int = 0, most: int = 4) -> Figure:
    """Channels over time, one panel per environment: the truth as dots, the forecast as lines."""
    _needs(truth, space=0)
    n = min(most, truth.n_environments)
    figure, axes = _grid(1, n, width=3.1, height=2.6)
    for e in range(n):
        ax = axes[0][e]
        for c in range(truth.states.shape[3]):
            name = truth.channels[c].name if truth.channels else f"channel {c}"
            colour = COLOURS[c % len(COLOURS)]
            ax.plot(truth.times, truth.states[e, trajectory, :, c], "o", ms=3.2, color=colour, alpha=0.55)
            ax.plot(truth.times, forecast[e, trajectory, :, c], "-", lw=1.6, color=colour, label=name)
        ax.set_title(_label(truth, e), fontsize=9)
        ax.set_xlabel("time")
    axes[0][0].legend(frameon=False, fontsize=8)
    axes[0][0].set_ylabel("forecast (line), truth (dots)")
    return figure


def fields(
    forecast: Tensor, truth: Trajectories, environment: int = 0, trajectory: int = 0, channel: int = 0
) -> Figure:
    """Truth, forecast and error maps of a plane field at four times; truth and forecast share their colours."""
    _needs(truth, space=2)
    frames = [round(i * (len(truth.times) - 1) / 3) for i in range(4)]
    figure, axes = _grid(3, 4, width=2.2, height=2.1)
    x = truth.states[environment, trajectory, :, channel]
    y = forecast[environment, trajectory, :, channel]
    low, high = float(x.min()), float(x.max())
    worst = max(float((y - x)[frames].abs().nan_to_num(0.0).max()), 1e-12)
    for j, k in enumerate(frames):
        top = axes[0][j].imshow(x[k], vmin=low, vmax=high, cmap="viridis")
        axes[1][j].imshow(y[k], vmin=low, vmax=high, cmap="viridis")
        bottom = axes[2][j].imshow(y[k] - x[k], vmin=-worst, vmax=worst, cmap="RdBu_r")
        axes[0][j].set_title(f"t = {float(truth.times[k]):g}", fontsize=9)
        for i in range(3):
            axes[i][j].set(xticks=[], yticks=[])
            axes[i][j].grid(False)
    for i, name in enumerate(("truth", "forecast", "error")):
        axes[i][0].set_ylabel(name)
    figure.colorbar(top, ax=[row[-1] for row in axes[:2]], shrink=0.8)
    figure.colorbar(bottom, ax=axes[2][-1], shrink=0.9)
    name = truth.channels[channel].name if truth.channels else f"channel {channel}"
    figure.suptitle(f"{name}, {_label(truth, environment)}", fontsize=10)
    return figure


def context_plane(seen: Adapted, new: Adapted | None = None, parameter: int | None = None, name: str = "") -> Figure:
    """Contexts in the plane of their two main directions, coloured by a true parameter.

    Seen environments are dots, adapted ones stars with their two-sigma ellipses.
    """
    from matplotlib.patches import Ellipse

    codes = flatten(seen.contexts).detach().double()
    mean = codes.mean(0)
    axes_of = (
        torch.linalg.svd(codes - mean, full_matrices=True)[2][:2] if codes.shape[1] > 2 else torch.eye(codes.shape[1])
    )
    axes_of = axes_of.double()
    shift = mean if codes.shape[1] > 2 else torch.zeros_like(mean)
    figure, grid = _grid(1, 1, width=4.4, height=3.6)
    ax = grid[0][0]
    colour = _column(seen, parameter)
    values = [v for a in (seen, new) if a is not None for v in (_column(a, parameter) or [])]
    limits: dict[str, Any] = {"vmin": min(values), "vmax": max(values), "cmap": "plasma"} if values else {}
    points = _plane(codes - shift, axes_of)
    dots = ax.scatter(*points, c=colour, s=55, edgecolor="black", linewidth=0.5, label="seen", **limits)
    if new is not None:
        fresh = flatten(new.contexts).detach().double() - shift
        where = _plane(fresh, axes_of)
        ax.scatter(
            *where,
            c=_column(new, parameter),
            s=150,
            marker="*",
            edgecolor="black",
            linewidth=0.7,
            label="adapted",
            **limits,
        )
        if new.covariance is not None and codes.shape[1] >= 2:
            for i, c in enumerate(new.covariance.double()):
                value, vector = torch.linalg.eigh(axes_of @ c @ axes_of.T)
                angle = float(torch.rad2deg(torch.atan2(vector[1, 1], vector[0, 1])))
                wide, high = (4 * value.clamp_min(0).sqrt()).flip(0).tolist()
                ax.add_patch(Ellipse((where[0][i], where[1][i]), wide, high, angle=angle, fill=False, lw=1.0))
    if values:
        figure.colorbar(dots, ax=ax, label=name or "parameter")
    ax.set(xlabel="context, first direction", ylabel="context, second direction")
    figure.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    return figure


def training_curves(histories: Sequence[Sequence[dict[str, Any]]]) -> Figure:
    """Training and validation loss over steps, one pair of lines per seed; a dashed line where the horizon changes."""
    figure, axes = _grid(1, 1, width=5.2, height=3.2)
    ax = axes[0][0]
    for i, rows in enumerate(histories):
        steps = [r["step"] for r in rows]
        ax.plot(steps, [r["loss"] for r in rows], color=COLOURS[0], alpha=0.45, lw=1, label=None if i else "training")
        if any(r.get("valid") is not None for r in rows):
            ax.plot(steps, [r.get("valid") for r in rows], color=COLOURS[1], lw=1.5, label=None if i else "validation")
    for a, b in zip(histories[0], histories[0][1:], strict=False) if histories else ():
        if a["horizon"] != b["horizon"]:
            ax.axvline(a["step"], color="grey", ls="--", lw=0.7)
    ax.set(xlabel="step", ylabel="mean square error", yscale="log")
    ax.legend(frameon=False, fontsize=8)
    return figure


def error_in_time(evaluations: dict[str, Sequence[Evaluation]]) -> Figure:
    """Mean square error against time, a line per protocol and seed; the training horizon is marked."""
    figure, axes = _grid(1, 1, width=4.6, height=3.2)
    ax = axes[0][0]
    for i, (name, runs) in enumerate(evaluations.items()):
        for j, run in enumerate(runs):
            ax.plot(run.times[1:], run.error_in_time[1:], color=COLOURS[i], lw=1.4, label=None if j else name)
        if runs and runs[0].horizon is not None and runs[0].times[-1] > runs[0].horizon and i == 0:
            ax.axvline(runs[0].horizon, color="grey", ls="--", lw=0.8)
    ax.set(xlabel="time", ylabel="mean square error", yscale="log")
    ax.legend(frameon=False, fontsize=8)
    return figure


def to_base64(figure: Figure) -> str:
    """A PNG as a data address, for pages that stand alone."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def _grid(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[list[Any]]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(columns * width, rows * height), layout="constrained", facecolor="white")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.ravel():
        ax.spines[["top", "right"]].set_visible(False)
        ax.grid(alpha=0.25, lw=0.6)
    return figure, axes.tolist()


def _plane(codes: Tensor, directions: Tensor) -> tuple[list[float], list[float]]:
    points = codes @ directions.T
    second = points[:, 1] if points.shape[1] > 1 else torch.zeros_like(points[:, 0])
    return points[:, 0].tolist(), second.tolist()


def _column(adapted: Adapted, parameter: int | None) -> list[float] | None:
    if adapted.parameters is None or parameter is None:
        return None
    column: list[float] = adapted.parameters[:, parameter].tolist()
    return column


def _label(truth: Trajectories, e: int) -> str:
    if truth.parameters is None:
        return f"environment {e}"
    names = [p.name for p in truth.parameter_specs] or [f"p{i}" for i in range(truth.parameters.shape[1])]
    varying = (truth.parameters != truth.parameters[:1]).any(0).tolist()
    parts = [f"{n} = {float(v):g}" for n, v, c in zip(names, truth.parameters[e], varying, strict=True) if c]
    return ", ".join(parts) or f"environment {e}"


def _needs(truth: Trajectories, space: int) -> None:
    if truth.states.ndim != 4 + space:
        raise ShapeError(f"This figure draws states with {space} space axes, these have {truth.states.ndim - 4}.")
