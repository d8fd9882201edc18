"""Which observations to take next: those that are expected to shrink the uncertainty most.

With the dynamics linear in the context near its fit, an observation with Jacobian J and noise sigma turns the posterior
covariance Sigma into ``(Sigma^-1 + J^T J / sigma^2)^-1`` whatever its value will be, so its worth is known beforehand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from leads.adaptation.adapted import Adapted
from leads.adaptation.design import Worth, greedy, information, variance_of
from leads.adaptation.posterior import covariance_of, derivatives, forecaster, free_context, noise_variance
from leads.errors import SettingsError, ShapeError, UnknownNameError
from leads.registry import nearest

#: What one observation is, as the sum over slopes (E, d, N, T, C, X) that gives its information.
SPANS = {
    "channel": "edntcx,efntcx->entcdf",
    "frame": "edntcx,efntcx->entdf",
    "value": "edntcx,efntcx->entcxdf",
}
GOALS = ("context", "forecast")


@dataclass(frozen=True)
class NextObservations:
    """The best observations of each environment, in the order in which to take them.

    Attributes:
        trajectory, frame, channel, cell: where and when, ``(E, n)`` each: which initial state, which of the candidate
            times, which channel, which cell of the flattened grid; -1 where an observation spans all of them.
        time: ``times[frame]``, ``(E, n)``.
        gain: what each adds to those before it, ``(E, n)``.
        gains: of every candidate taken alone, ``(E, N, T)``, with axes C and X where these are chosen between.
        before: half the log determinant of the covariance, or the mean variance of the forecast, before them, ``(E,)``.
        goal: ``"context"`` (gains in nats) or ``"forecast"`` (gains in variance, squared units of the states).
    """

    trajectory: Tensor
    frame: Tensor
    channel: Tensor
    cell: Tensor
    time: Tensor
    gain: Tensor
    gains: Tensor
    before: Tensor
    goal: str

    def sentences(self, environment: int = 0, channels: Sequence[str] = ()) -> list[str]:
        """The observations of one environment in words; ``channels`` names them."""
        lines = []
        for i in range(self.gain.shape[1]):
            at = (environment, i)
            c, x = int(self.channel[at]), int(self.cell[at])
            what = "the whole state" if c < 0 else (channels[c] if channels else f"channel {c}")
            place = f" at cell {x}" if x >= 0 else ""
            worth = (
                f"{float(self.gain[at]):.3g} nats"
                if self.goal == "context"
                else f"{float(self.gain[at] / self.before[environment]):.1%} of the forecast's mean variance"
            )
            lines.append(
                f"{i + 1}. {what}{place} at time {float(self.time[at]):g} of trajectory {int(self.trajectory[at])}: {worth}"
            )
        return lines

    def __str__(self) -> str:
        return "\n".join(f"environment {e}\n  " + "\n  ".join(self.sentences(e)) for e in range(len(self.gain)))


@torch.no_grad()
def next_observation(
    adapted: Adapted,
    x0: Tensor,
    times: Tensor,
    n: int = 1,
    *,
    goal: Literal["context", "forecast"] = "context",
    unit: Literal["channel", "frame", "value"] = "channel",
    noise: float | Sequence[float] | Tensor | None = None,
    allowed: Tensor | None = None,
    target: tuple[Tensor, Tensor] | None = None,
) -> NextObservations:
    """Rank candidate observations of trajectories from ``x0`` by how much they are expected to tell.

    ``goal="context"`` maximises the expected information ``1/2 (log det Sigma - log det Sigma')`` (D-optimal; Lindley
    1956, "On a measure of the information provided by an experiment"; Chaloner and Verdinelli 1995, "Bayesian
    experimental design: a review"); ``goal="forecast"`` the decrease of the mean variance of a forecast,
    ``mean diag J (Sigma - Sigma') J^T`` (V-optimal). Several are chosen greedily; for the first goal, a submodular one,
    that reaches at least 1 - 1/e of the best set's information (Krause, Singh and Guestrin 2008).

    Directions of the context that the support did not observe at all have no variance in a covariance without prior, and
    so nothing to gain: adapt with a prior where observations are fewer than the context's values.

    Args:
        adapted: with a covariance.
        x0: initial states that could be observed from, ``(E, N, C, *X)``, as for :meth:`Adapted.forecast`.
        times: candidate times ``(T,)``; the first is that of ``x0``, which is known already.
        n: how many to choose.
        goal: see above.
        unit: what one observation is: a ``"channel"`` of the whole grid at one time, the whole state (``"frame"``), or
            one ``"value"``: a channel in a cell.
        noise: standard deviation of the observations to come, one or one per channel; by default the root mean square
            of what the fit left unexplained.
        allowed: ``True`` where a candidate may be chosen (not observed yet, in reach), broadcast to ``(E, N, T)``, with
            ``unit="channel"`` to ``(E, N, T, C)``, with ``"value"`` to ``(E, N, T, C, X)``, the grid as one axis; all by
            default.
        target: initial states and times of the forecast for ``goal="forecast"``; ``(x0, times)`` by default.

    Raises:
        SettingsError: no covariance, no noise known, or more observations than there are candidates.
        ShapeError, DataError: as :meth:`Adapted.forecast`.
    """
    for what, chosen, known in (("goal", goal, GOALS), ("unit of observation", unit, tuple(SPANS))):
        if chosen not in known:
            raise UnknownNameError(f"No {what} is named {chosen!r}. {nearest(str(chosen), known)}")
    adapted.check_start(x0, times)
    slopes = _slopes(adapted, x0, times)
    informations, shape = _informations(slopes / _deviation(adapted, noise, slopes.shape[4]), unit)
    axes = {"frame": 2, "channel": 3, "value": 4}[unit]
    free = _allowed(allowed, (len(x0), *shape[:axes]))
    most = int(free.sum(1).min())
    if not isinstance(n, int) or not 1 <= n <= most:
        raise SettingsError(f"n counts observations of {most} candidates, got {n!r}.")
    worth: Worth = information
    before = covariance_of(adapted).slogdet().logabsdet / 2
    if goal == "forecast":
        if target is not None:
            adapted.check_start(*target)
        worth, before = variance_of(slopes if target is None else _slopes(adapted, *target))
    order, gain, gains = greedy(informations, n, worth, free.to(informations.device))
    place = torch.unravel_index(order, shape)
    trajectory, frame, channel, cell = place
    return NextObservations(
        trajectory=trajectory,
        frame=frame + 1,
        channel=channel if axes > 2 else torch.full_like(channel, -1),
        cell=cell if axes > 3 and shape[3] > 1 else torch.full_like(cell, -1),
        time=times.to(order.device)[frame + 1],
        gain=gain,
        gains=gains.unflatten(1, shape[:axes]),
        before=before,
        goal=goal,
    )


def _slopes(adapted: Adapted, x0: Tensor, times: Tensor) -> Tensor:
    """Jacobian of the forecast times a root of the covariance, ``(E, d, N, T - 1, C, X)``, the grid as one axis.

    Where the forecast diverges nothing can be learned: zero.
    """
    f, point = forecaster(adapted, x0, times), free_context(adapted)
    values, vectors = torch.linalg.eigh(covariance_of(adapted))
    history = adapted.model.history
    entries = x0.numel() // history * len(times)
    slopes = torch.cat([s for _, s in derivatives(f, point, vectors.mT, entries)], 1)[:, :, :, 1:]
    slopes = slopes.flatten(5) if slopes.ndim > 5 else slopes[..., None]
    return slopes.nan_to_num(0.0, 0.0, 0.0) * values.clamp_min(0).sqrt()[:, :, None, None, None, None]


def _deviation(adapted: Adapted, noise: float | Sequence[float] | Tensor | None, channels: int) -> Tensor:
    """Standard deviation of observations, broadcast against slopes ``(E, d, N, T, C, X)``."""
    if noise is None:
        known = noise_variance(adapted).sqrt()
        if not bool((known > 0).all()):
            raise SettingsError("The fit left no residuals to tell the noise from. Give noise, a standard deviation.")
        return known.to(adapted.like().device)[:, None, None, None, None, None]
    given = torch.as_tensor(noise, dtype=torch.float64, device=adapted.like().device).reshape(-1)
    if len(given) not in (1, channels):
        raise ShapeError(f"noise is one standard deviation, or one for each of {channels} channels; got {len(given)}.")
    if not bool((torch.isfinite(given) & (given > 0)).all()):
        raise SettingsError(f"noise is a standard deviation, positive and finite; got {noise!r}.")
    return given[:, None]


def _allowed(allowed: Tensor | None, shape: tuple[int, ...]) -> Tensor:
    """Which candidates may be chosen, ``(E, B)``; ``shape`` is that of all of them, without the first frame."""
    if allowed is None:
        return torch.ones(shape, dtype=torch.bool).flatten(1)
    wanted = (*shape[:2], shape[2] + 1, *shape[3:])
    try:
        return allowed.bool().expand(wanted)[:, :, 1:].flatten(1)
    except RuntimeError as error:
        raise ShapeError(f"allowed must broadcast to {wanted}, got {tuple(allowed.shape)}.") from error


def _informations(slopes: Tensor, unit: str) -> tuple[Tensor, tuple[int, ...]]:
    """``s s^T`` summed over what one observation spans, ``(E, B, d, d)``, and the axes ``(N, T, C, X)`` of B."""
    summed = torch.einsum(SPANS[unit], slopes, slopes)
    shape = (*summed.shape[1:-2], 1, 1)[:4]
    return summed.flatten(1, -3), shape
