"""Figures of error bars and alarms. Each function returns a matplotlib figure and touches no global state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from leads.evaluation.figures import COLOURS, _grid, _label, _needs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from leads.adaptation import Bands
    from leads.evaluation.reliability import Reliability
    from leads.trajectories import Trajectories


def reliability_curve(results: Mapping[str, Reliability]) -> Figure:
    """Coverage against the level that was promised, a line per forecaster with two standard errors shaded."""
    figure, axes = _grid(1, 1, width=4.2, height=3.8)
    ax = axes[0][0]
    ax.plot([0, 1], [0, 1], color="grey", ls="--", lw=0.9)
    for colour, (name, r) in zip(COLOURS, results.items(), strict=False):
        low = [c - 2 * s for c, s in zip(r.coverage, r.standard_error, strict=True)]
        high = [c + 2 * s for c, s in zip(r.coverage, r.standard_error, strict=True)]
        ax.fill_between(r.levels, low, high, color=colour, alpha=0.18, lw=0)
        ax.plot(r.levels, r.coverage, "o-", color=colour, ms=3.5, lw=1.5, label=name)
    ax.set(xlabel="level of the band", ylabel="share of truths inside", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    ax.legend(frameon=False, fontsize=8, loc="upper left")
    return figure


def coverage_by_lead_time(results: Mapping[str, Reliability]) -> Figure:
    """Coverage against the time since the forecast's start, a line per forecaster; the level is dashed."""
    figure, axes = _grid(1, 1, width=4.8, height=3.2)
    ax = axes[0][0]
    for level in sorted({r.level for r in results.values()}):
        ax.axhline(level, color="grey", ls="--", lw=0.9)
    for colour, (name, r) in zip(COLOURS, results.items(), strict=False):
        ax.plot(r.lead_times, r.in_time, "o-", color=colour, ms=3.5, lw=1.5, label=name)
    ax.set(xlabel="lead time", ylabel="share of truths inside", ylim=(0, 1.02))
    ax.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


def bands(forecast: Bands, truth: Trajectories, trajectory: int = 0, most: int = 4) -> Figure:
    """Channels over time with their bands, one panel per environment: the truth as dots, the forecast as lines."""
    _needs(truth, space=0)
    n = min(most, truth.n_environments)
    figure, axes = _grid(1, n, width=3.1, height=2.6)
    for e, ax in enumerate(axes[0]):
        for c in range(truth.states.shape[3]):
            name, colour = truth.channels[c].name if truth.channels else f"channel {c}", COLOURS[c % len(COLOURS)]
            line = (e, trajectory, slice(None), c)
            ax.fill_between(truth.times, forecast.lower[line], forecast.upper[line], color=colour, alpha=0.25, lw=0)
            ax.plot(truth.times, forecast.mean[line], "-", lw=1.3, color=colour, label=name)
            ax.plot(truth.times, truth.states[line], "o", ms=2.6, color=colour)
        ax.set_title(_label(truth, e), fontsize=9)
        ax.set_xlabel("time")
    axes[0][0].legend(frameon=False, fontsize=8)
    axes[0][0].set_ylabel(f"{forecast.level:.0%} band, truth (dots)")
    return figure


def alarm_curve(distances: Sequence[float], alarms: Sequence[bool], edges: Sequence[float], rate: float) -> Figure:
    """Share of environments that alarm, in bins of their true distance from the seen range (negative: inside)."""
    figure, axes = _grid(1, 1, width=6.0, height=3.2)
    ax = axes[0][0]
    for i, (low, high) in enumerate(pairwise(edges)):
        rung = [a for d, a in zip(distances, alarms, strict=True) if low <= d < high]
        share = sum(rung) / len(rung) if rung else 0.0
        ax.bar(i, share, width=0.85, color=COLOURS[0] if high <= 0 else COLOURS[1])
        ax.text(i, share + 0.02, f"{share:.0%}\nn = {len(rung)}", ha="center", va="bottom", fontsize=7)
    ax.axhline(rate, color="grey", ls="--", lw=0.9)
    ax.set_xticks([i - 0.5 for i in range(len(edges))], [f"{e:g}" for e in edges], fontsize=8)
    ax.set(xlabel="distance from the seen range (negative: inside)", ylabel="share that alarms", ylim=(0, 1.18))
    return figure
