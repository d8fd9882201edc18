"""The error after adaptation over the plane of two physical parameters: inside the seen range, and outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from leads.adaptation import AdaptSettings, adapt
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily
from leads.errors import DivergenceError, SettingsError
from leads.evaluation.adaptation_curves import _words
from leads.evaluation.figures import _grid
from leads.evaluation.protocols import evaluate
from leads.trajectories import Trajectories, simulate
from leads.trajectories.generate import SEEDS, draw_states

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Environments adapted in one batch.
BATCH = 64


@dataclass(frozen=True)
class ParameterPlane:
    """Errors on a grid of parameters.

    Attributes:
        names: of the two parameters, that of the horizontal axis first.
        first, second: their values, ``(A,)`` and ``(B,)``.
        errors: of the test forecasts, ``(A, B)``; infinite where no forecast could be made.
        box: the seen range of both, ``((low, high), (low, high))``.
        seen: parameters of the training environments, ``(E, 2)``.
        metric: of the errors.
    """

    names: tuple[str, str]
    first: Tensor
    second: Tensor
    errors: Tensor
    box: tuple[tuple[float, float], tuple[float, float]]
    seen: Tensor
    metric: str

    @property
    def inside(self) -> Tensor:
        """Which grid points lie in the seen range, ``(A, B)``."""
        within = [(v >= low - 1e-12) & (v <= high + 1e-12) for v, (low, high) in zip((self.first, self.second), self.box, strict=True)]  # fmt: skip
        return within[0][:, None] & within[1]

    def figure(self) -> Figure:
        """Colours for the logarithm of the error, the seen range as a box, training environments as dots."""
        from matplotlib.colors import LogNorm
        from matplotlib.patches import Rectangle

        figure, axes = _grid(1, 1, width=4.8, height=3.8)
        ax = axes[0][0]
        ax.grid(False)
        finite = self.errors[torch.isfinite(self.errors) & (self.errors > 0)]
        low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.1, 1.0)
        shown = np.ma.masked_invalid(self.errors.T.numpy())
        image = ax.pcolormesh(
            self.first, self.second, shown, norm=LogNorm(low, max(high, 1.01 * low)), cmap="viridis", shading="nearest"
        )
        (a, b), (c, d) = self.box
        ax.add_patch(Rectangle((a, c), b - a, d - c, fill=False, ec="white", lw=1.8))
        ax.plot(*self.seen.mT, "o", ms=5, mfc="white", mec="black", mew=0.8, ls="none", label="training environments")
        figure.colorbar(image, ax=ax, label=_words(self.metric))
        ax.set(xlabel=self.names[0], ylabel=self.names[1])
        figure.legend(loc="outside upper center", frameon=False, fontsize=8)
        return figure

    def summary(self) -> dict[str, float]:
        """Median errors inside and outside the seen range."""
        inside = self.inside
        return {"inside": float(self.errors[inside].median()), "outside": float(self.errors[~inside].median())}


def error_over_plane(
    model: DecomposedDynamics,
    family: EnvironmentFamily,
    side: int = 15,
    metric: str = "relative_l2",
    parameters: tuple[str, str] | None = None,
    support: int = 1,
    test: int = 4,
    seed: int = 0,
    settings: AdaptSettings | None = None,
) -> ParameterPlane:
    """Simulate, adapt to and forecast environments on a grid of two parameters.

    The grid covers the stretched range of the family's distribution (``Box.stretch``), cut to admissible values; other
    parameters are at the middle of the seen range. All environments share their initial states: those of the family's
    adaptation data, and of its test data.

    Args:
        model: trained dynamics.
        family: whose equations and ranges to use.
        side: values of each parameter.
        metric: one of ``leads.evaluation.metrics``.
        parameters: names of the two; the first two that vary by default.
        support, test: trajectories of each environment to adapt to, and to score.
        seed: of the initial states.
        settings: of the adaptation.

    Raises:
        SettingsError: fewer than two parameters vary, or a grid of fewer than two values.
        DivergenceError: a simulation blows up.
    """
    low, high, wide_low, wide_high = family.distribution._ranges(family.system)
    varying = [i for i in range(len(low)) if wide_high[i] > wide_low[i] and high[i] > low[i]]
    if parameters is not None:
        varying = [family.system.parameter_index(name) for name in parameters]
    if len(varying) < 2 or side < 2:
        raise SettingsError(
            f"A plane needs two parameters that vary and at least two values of each; {len(varying)} vary in "
            f"{family.name}, side={side}."
        )
    i, j = varying[:2]
    axes = [torch.linspace(float(wide_low[k]), float(wide_high[k]), side, dtype=torch.float64) for k in (i, j)]
    points = torch.from_numpy((low + high) / 2).repeat(side * side, 1)
    points[:, [i, j]] = torch.cartesian_prod(*axes)
    errors = []
    for part in points.split(BATCH):
        known = _simulated(family, part, [SEEDS["adapt"](seed * 1_000_000 + k) for k in range(support)], family.times)
        unknown = _simulated(
            family, part, [SEEDS["adapt_test"](seed * 1_000_000 + k) for k in range(test)], family.horizon_times
        )
        errors += _scores(model, known, unknown, metric, settings)
    names = [family.system.parameters[k].name for k in (i, j)]
    box = tuple((float(low[k]), float(high[k])) for k in (i, j))
    return ParameterPlane(
        (names[0], names[1]),
        axes[0],
        axes[1],
        torch.tensor(errors).reshape(side, side),
        (box[0], box[1]),
        family.seen[:, [i, j]],
        metric,
    )


def _scores(
    model: DecomposedDynamics, known: Trajectories, unknown: Trajectories, metric: str, settings: AdaptSettings | None
) -> list[float]:
    """Errors of environments adapted side by side; where one cannot start, each alone."""
    try:
        scores = evaluate(adapt(model, known, settings), unknown, names=[metric])
        return scores.per_environment["all"][metric]
    except DivergenceError:
        if known.n_environments == 1:
            return [float("inf")]
    alone = ((known.select(environments=[e]), unknown.select(environments=[e])) for e in range(known.n_environments))
    return [v for one, other in alone for v in _scores(model, one, other, metric, settings)]


def _simulated(family: EnvironmentFamily, parameters: Tensor, seeds: list[int], times: Tensor) -> Trajectories:
    x0 = draw_states(family.system, seeds)
    return simulate(family.system, parameters, x0, times, estimate_error=False, dtype=torch.float32)
