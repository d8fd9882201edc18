"""A picture of a family: the same start in some of its environments."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import fill
from typing import TYPE_CHECKING

from leads.errors import SettingsError
from leads.evaluation.figures import COLOURS, _grid, _label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from leads.trajectories import Trajectories


def portrait(data: Trajectories, trajectory: int = 0, channel: int | None = None, most: int = 4) -> Figure:
    """Trajectory number ``trajectory`` in up to ``most`` environments.

    Channels over time (no space), space-time diagrams (one axis), or four snapshots an environment (two axes) of one
    channel, by default the first; colours are shared by all environments.

    Raises:
        SettingsError: states with more than two axes of space.
    """
    space = data.states.ndim - 4
    draw = {0: _lines, 1: _space_time, 2: _snapshots}
    if space not in draw:
        raise SettingsError(f"Pictures are made of states with up to two axes of space, got {space}.")
    shown = min(most, data.n_environments)
    chosen = [round(i * (data.n_environments - 1) / max(shown - 1, 1)) for i in range(shown)]
    return draw[space](data, chosen, trajectory, 0 if channel is None else channel)


def _lines(data: Trajectories, environments: list[int], trajectory: int, channel: int) -> Figure:
    del channel
    figure, axes = _grid(1, len(environments), width=3.0, height=2.5)
    shown = min(data.states.shape[3], 4)
    for ax, e in zip(axes[0], environments, strict=True):
        for c in range(shown):
            name = data.channels[c].name if data.channels else f"channel {c}"
            ax.plot(data.times, data.states[e, trajectory, :, c], color=COLOURS[c], lw=1.4, label=name)
        ax.set_title(fill(_label(data, e), 42), fontsize=8)
        ax.set_xlabel("time")
    axes[0][0].legend(frameon=False, fontsize=8)
    return figure


def _space_time(data: Trajectories, environments: list[int], trajectory: int, channel: int) -> Figure:
    figure, axes = _grid(1, len(environments), width=2.9, height=3.0)
    x = data.states[environments, trajectory, :, channel]
    low, high = float(x.min()), float(x.max())
    length = data.grid.shape[0] * data.grid.spacing[0] if data.grid else x.shape[-1]
    extent = (0.0, length, float(data.times[-1]), float(data.times[0]))
    for ax, e, field in zip(axes[0], environments, x, strict=True):
        image = ax.imshow(field, vmin=low, vmax=high, cmap="viridis", extent=extent, aspect="auto")
        ax.set_title(fill(_label(data, e), 42), fontsize=8)
        ax.set_xlabel("x")
        ax.grid(False)
    axes[0][0].set_ylabel("time")
    figure.colorbar(image, ax=axes[0][-1], shrink=0.9)
    return figure


def _snapshots(data: Trajectories, environments: list[int], trajectory: int, channel: int) -> Figure:
    environments = environments[:: max(1, len(environments) - 1)][:2]
    frames = [round(i * (len(data.times) - 1) / 3) for i in range(4)]
    figure, axes = _grid(len(environments), 4, width=2.1, height=2.15)
    x = data.states[environments, trajectory, :, channel]
    low, high = float(x[:, frames].min()), float(x[:, frames].max())
    signed = low < 0 < high
    limits = {"vmin": -max(-low, high), "vmax": max(-low, high)} if signed else {"vmin": low, "vmax": high}
    for row, e, field in zip(axes, environments, x, strict=True):
        for ax, k in zip(row, frames, strict=True):
            image = ax.imshow(field[k], cmap="RdBu_r" if signed else "viridis", origin="lower", **limits)
            ax.set(xticks=[], yticks=[])
            ax.set_title(f"t = {float(data.times[k]):.4g}", fontsize=8)
            ax.grid(False)
        row[0].set_ylabel(_label(data, e), fontsize=7)
    figure.colorbar(image, ax=[row[-1] for row in axes], shrink=0.8)
    return figure


def poster(sets: Mapping[str, Trajectories], columns: int = 8) -> Figure:
    """One panel a family: orbits of its environments in the plane of the first two channels (no space), a space-time
    diagram (one axis) or the last frame (two axes) of the first environment."""
    rows = -(-len(sets) // columns)
    figure, axes = _grid(rows, columns, width=1.75, height=1.85)
    panels = [ax for row in axes for ax in row]
    for ax, (name, data) in zip(panels, sets.items(), strict=False):
        space = data.states.ndim - 4
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.set_title(name, fontsize=7)
        if space == 0:
            for i, e in enumerate(range(0, data.n_environments, max(1, data.n_environments // 4))):
                ax.plot(*data.states[e, 0, :, :2].mT, color=COLOURS[i % len(COLOURS)], lw=1.2)
            continue
        field = data.states[0, 0, :, 0] if space == 1 else data.states[0, 0, -1, 0]
        size = float(field.abs().max())
        signed = float(field.min()) < 0 < float(field.max())
        limits = {"vmin": -size, "vmax": size} if signed else {}
        ax.imshow(field, cmap="RdBu_r" if signed else "viridis", origin="lower", aspect="auto", **limits)
    for ax in panels[len(sets) :]:
        ax.set_visible(False)
    return figure
