"""Surface drifters in forecast and true currents: paths, their distance, and the skill score of that."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import torch
from torch import Tensor

from leads.errors import DataError, SettingsError, ShapeError
from leads.integrators import check_times, integrate
from leads.ocean.scores.waters import Waters


@dataclass(frozen=True)
class DrifterScores:
    """Attributes:
    times: s, ``(T,)``.
    forecast, truth: positions (x, y), ``(..., P, T, 2)``: m, unwrapped, in a box; degrees on the sphere. NaN from where a
        drifter reached land or left the grid.
    separation: m, ``(..., P, T)``.
    mean_separation: over drifters that are afloat in both, ``(..., T)``.
    afloat: share of the true drifters still afloat that are so in the forecast too, ``(..., T)``.
    skill: of Liu and Weisberg (2011), over the whole time, ``(..., P)``.
    """

    times: Tensor
    forecast: Tensor
    truth: Tensor
    separation: Tensor
    mean_separation: Tensor
    afloat: Tensor
    skill: Tensor


def advect(
    u: Tensor, v: Tensor, times: Tensor, start: Tensor, waters: Waters, at: Tensor | None = None, step: float = 3600.0
) -> Tensor:
    """Paths of particles in a current that is linear in time and bilinear in space between its values; RK4.

    Args:
        u, v: eastward and northward velocity, m/s, ``(..., T, Y, X)``; land is NaN.
        times: of the currents, s, increasing, ``(T,)``.
        start: positions (x, y), ``(..., P, 2)`` or ``(P, 2)`` for all: m in a box, degrees on the sphere.
        waters: :class:`Box` or :class:`Sphere`.
        at: times of the answer, from the first on (s); by default those of the currents.
        step: longest step, s.

    Returns:
        ``(..., P, T', 2)``. NaN from where a particle reached land or left a grid that is not periodic.

    Raises:
        ShapeError, DataError, SettingsError: axes that do not fit; times outside those of the currents; currents that are
            NaN everywhere.
    """
    if u.shape != v.shape or u.ndim < 3:
        raise ShapeError(f"Currents need the same shape (..., T, Y, X), got {tuple(u.shape)} and {tuple(v.shape)}.")
    check_times(times)
    if len(times) != u.shape[-3] or len(times) < 2:
        raise ShapeError(f"Currents at T = {u.shape[-3]} times need as many times, at least two; got {len(times)}.")
    if not bool(torch.isfinite(u).any()):
        raise DataError("The current is NaN everywhere (all land). Choose another window.")
    at = times if at is None else at
    if float(at[0]) < float(times[0]) or float(at[-1]) > float(times[-1]):
        raise SettingsError(
            f"Drifters are asked for from {float(at[0]):g} to {float(at[-1]):g} s, the currents are known from "
            f"{float(times[0]):g} to {float(times[-1]):g} s."
        )
    waters.check(u.shape[-2], u.shape[-1])
    flow = torch.stack([u, v], -1)
    lead = flow.shape[:-4]
    x0 = start.to(flow).expand(*lead, *start.shape[-2:]) if start.ndim == 2 else start.to(flow)
    if x0.shape[:-2] != lead or x0.shape[-1] != 2:
        own = ", ".join(map(str, (*lead, "P", 2)))
        raise ShapeError(f"Starts need shape (P, 2) or ({own}), got {tuple(start.shape)}.")
    flow = flow.reshape(-1, *flow.shape[-4:])
    clock = times.to(torch.float64).tolist()

    def field(t: Tensor, x: Tensor) -> Tensor:
        now = float(t)
        i = min(max(bisect_right(clock, now) - 1, 0), len(clock) - 2)
        share = (now - clock[i]) / (clock[i + 1] - clock[i])
        return waters.rates(torch.lerp(flow[:, i], flow[:, i + 1], share), x)

    paths = integrate(field, x0.reshape(-1, *x0.shape[-2:]), at, method="rk4", max_step=step)
    return paths.movedim(0, -2).reshape(*x0.shape[:-1], len(at), 2)


def skill_score(separation: Tensor, truth: Tensor, waters: Waters, tolerance: float = 1.0) -> Tensor:
    """Skill of Liu and Weisberg: ``1 - s / n`` where ``s <= n``, else 0; ``s = sum_i d_i / sum_i l_i``.

    d_i is the separation and l_i the length of the true path from the start to time i, for i = 1 ... T - 1; n is the
    tolerance. 1 is a perfect forecast. NaN where the true drifter does not move at all or either is lost.

    Source: Liu, Y. and Weisberg, R. H. (2011), Evaluation of trajectory modeling in different dynamic regions using
    normalized cumulative Lagrangian separation, J. Geophys. Res. 116, C09013.

    Args:
        separation: m, ``(..., T)``.
        truth: the true path, ``(..., T, 2)``.

    Raises:
        SettingsError: a tolerance that is not positive.
    """
    if not tolerance > 0:
        raise SettingsError(f"The tolerance of the skill score must be positive, got {tolerance}.")
    legs = waters.distance(truth[..., 1:, :], truth[..., :-1, :])
    s = separation[..., 1:].sum(-1) / legs.cumsum(-1).sum(-1)
    return (1 - s / tolerance).clamp_min(0)


def drifter_scores(
    forecast: tuple[Tensor, Tensor],
    truth: tuple[Tensor, Tensor],
    times: Tensor,
    start: Tensor,
    waters: Waters,
    *,
    at: Tensor | None = None,
    step: float = 3600.0,
    tolerance: float = 1.0,
) -> DrifterScores:
    """Drifters set out at the same places in the forecast and in the true current.

    Args:
        forecast, truth: u and v, m/s, ``(..., T, Y, X)``.
        times, start, waters, at, step: see :func:`advect`.
        tolerance: see :func:`skill_score`.

    Raises:
        ShapeError, DataError, SettingsError: see :func:`advect`.
    """
    if forecast[0].shape != truth[0].shape:
        raise ShapeError(
            f"The forecast current has shape {tuple(forecast[0].shape)}, the true one {tuple(truth[0].shape)}."
        )
    own = advect(*truth, times, start, waters, at, step)
    theirs = advect(*forecast, times, start, waters, at, step)
    separation = waters.distance(theirs, own)
    held = torch.isfinite(separation).sum(-2) / torch.isfinite(own[..., 0]).sum(-2)
    return DrifterScores(
        times if at is None else at,
        theirs,
        own,
        separation,
        separation.nanmean(-2),
        held,
        skill_score(separation, own, waters, tolerance),
    )
