"""Figures of what contexts mean: parameters read off them, and what each parameter does to the forecast."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from leads.errors import ShapeError
from leads.evaluation.figures import COLOURS, _grid, _label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from leads.adaptation import Estimate
    from leads.trajectories import Trajectories


def recovered(estimate: Estimate, truth: Tensor, most: int = 4) -> Figure:
    """Estimated against true parameters, one panel each: dots on the diagonal, with two-sigma error bars.

    Args:
        estimate: what a parameter map gave, E environments.
        truth: shape ``(E, P)``, the parameters of the estimate.
        most: panels.

    Raises:
        ShapeError: other environments or parameters.
    """
    if truth.shape != estimate.values.shape:
        raise ShapeError(
            f"The estimate has shape (E, P) = {tuple(estimate.values.shape)}, the truth {tuple(truth.shape)}."
        )
    n = min(most, len(estimate.specs))
    figure, axes = _grid(1, n, width=3.1, height=3.0)
    for i, ax in enumerate(axes[0]):
        spec, found, true = estimate.specs[i], estimate.values[:, i], truth[:, i].cpu().double()
        low, high = float(min(found.min(), true.min())), float(max(found.max(), true.max()))
        pad = 0.05 * (high - low)
        ax.plot([low - pad, high + pad], [low - pad, high + pad], color="grey", lw=0.8)
        ax.errorbar(true, found, yerr=2 * estimate.std[:, i], fmt="o", ms=4, lw=1.2, color=COLOURS[0], capsize=2)
        relative = float(((found - true).abs() / true.abs().clamp_min(1e-12)).median())
        ax.set_title(f"{spec.name}: median error {relative:.2%}", fontsize=9)
        unit = "" if spec.unit == "1" else f" [{spec.unit}]"
        ax.set(xlabel=f"true {spec.name}{unit}", ylabel=f"from the context{unit}")
    return figure


def sensitivities(
    values: Mapping[str, Tensor], data: Trajectories, environment: int = 0, trajectory: int = 0
) -> Figure:
    """Derivatives of a forecast over time: a panel a channel, a line a parameter (states without space axes), or the norm
    over space (with them).

    Args:
        values: by parameter ``(E, N, T, C, *X)``, as ``parameter_sensitivity`` gives them.
        data: for times and names.
        environment, trajectory: which forecast.

    Raises:
        ShapeError: values that do not fit the data.
    """
    for name, v in values.items():
        if v.shape != data.states.shape:
            raise ShapeError(
                f"The sensitivity to {name} has shape {tuple(v.shape)}, the data have {tuple(data.states.shape)}."
            )
    channels = min(data.states.shape[3], 4)
    figure, axes = _grid(1, channels, width=3.4, height=2.6)
    space = data.states.ndim > 4
    for c, ax in enumerate(axes[0]):
        for i, (name, v) in enumerate(values.items()):
            line = v[environment, trajectory, :, c]
            line = line.flatten(1).norm(dim=1) if space else line
            ax.plot(data.times, line, lw=1.5, color=COLOURS[i % len(COLOURS)], label=name)
        channel = data.channels[c].name if data.channels else f"channel {c}"
        ax.set_title(channel, fontsize=9)
        ax.set_xlabel("time")
    axes[0][0].set_ylabel("change of the forecast" + (", norm over space" if space else ""))
    axes[0][0].legend(frameon=False, fontsize=8)
    figure.suptitle(_label(data, environment), fontsize=9)
    return figure
