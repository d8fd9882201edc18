"""Calibrate bands and alarms on environments that the model was not trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from leads.adaptation.adapt import adapt
from leads.adaptation.adapted import Adapted, trained
from leads.adaptation.calibration import LEVELS, Calibration, outlyingness
from leads.adaptation.conditions import together
from leads.adaptation.conformal import hierarchical_quantiles
from leads.adaptation.ensembles import AdaptedEnsemble, Ensemble
from leads.adaptation.limits import Region
from leads.adaptation.posterior import ROLLOUT, Method, check_method
from leads.adaptation.settings import AdaptSettings
from leads.adapters import Context
from leads.contexts.flat import flatten
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, SettingsError, ShapeError
from leads.trajectories import Trajectories
from leads.trajectories.trajectories import require_frames, require_trajectories

SHARED = ("lead_time", "channel")


def calibrate(
    model: DecomposedDynamics | Ensemble,
    support: Trajectories,
    truth: Trajectories,
    *,
    method: Method = "linearised",
    noise: bool = True,
    by: tuple[str, ...] = SHARED,
    seen: Trajectories | None = None,
    draws: int = 256,
    seed: int = 0,
    settings: AdaptSettings | None = None,
    **overrides: Any,
) -> Calibration:
    """Adapt to held-out environments, forecast their truth, and keep how wrong the error bars were.

    The score of an entry is ``|truth - mean| / sd``. Its quantiles over environments (hierarchical split conformal, see
    :func:`leads.adaptation.conformal.hierarchical_quantiles`) replace those of a Gaussian, so that for a fresh
    environment drawn like these, adapted likewise and started likewise, a band of level q covers an entry of the truth
    with probability at least q, and at most ``q + 2 / (K + 1)`` where scores have no ties; whatever the model.

    Args:
        model: trained dynamics, or an ensemble.
        support: observations of K environments that were not trained on, as many and as noisy as those that will be
            adapted to later. :func:`leads.held_out_environments` draws them from a family.
        truth: other trajectories of the same environments, in the same order.
        method, noise, draws, seed: of the bands, see :meth:`leads.Adapted.bands`.
        by: what has a width of its own: ``"lead_time"``, ``"channel"``, both, or ``()`` for one width.
        seen: training data, for models that keep no table of their seen contexts. Without it (or with a table of a single
            context) a half of the held-out environments says where contexts lie, and the other half what is ordinary.
        settings, overrides: of the adaptation, see :class:`leads.adaptation.AdaptSettings`.

    Raises:
        ShapeError, DataError: support and truth of different environments, or the same trajectories.
        SettingsError: a model without covariance; see the message for what to do.
    """
    check_method(method)
    if set(by) - set(SHARED) or isinstance(by, str):
        raise SettingsError(f"by is a tuple of 'lead_time' and 'channel', or empty; got {by!r}.")
    _check(support, truth)
    models = model.models if isinstance(model, Ensemble) else [model]
    history = models[0].history
    require_frames(truth, history, "truth trajectories")
    after = truth.select(frames=slice(history - 1, None))
    scores, parts = [], []
    for rows in _chunks(truth):
        known, part = support.select(environments=rows), truth.select(environments=rows)
        adapted = (
            model.adapt(known, settings, **overrides)
            if isinstance(model, Ensemble)
            else adapt(model, known, settings, **overrides)
        )
        mean, deviation = adapted.moments(part.first(history), after.times, method, noise, draws, seed)
        scores.append(_scores(mean, deviation, after.select(environments=rows)).cpu())
        parts.append(adapted)
    regions, kept = _regions(models, parts, seen)
    distances, residuals = (torch.cat(x).cpu() for x in zip(*(outlyingness(a, regions) for a in parts), strict=True))
    leads = (after.times[1:] - after.times[0]).double()
    return Calibration(
        model=parts[0].fingerprint(),
        method=method,
        noise=noise,
        draws=draws,
        seed=seed,
        levels=LEVELS,
        scales=_scales(torch.cat(scores), by),
        lead_times=leads if "lead_time" in by else leads[-1:],
        environments=truth.n_environments,
        distances=distances[kept],
        residuals=residuals[kept],
        regions=regions,
        conditions=together(parts, support.attributes),
    )


def _chunks(truth: Trajectories) -> list[list[int]]:
    """Environments in parts whose forecast, with two copies, is one stacked rollout."""
    n = max(1, ROLLOUT // (3 * truth.states[0].numel()))
    rows = list(range(truth.n_environments))
    return [rows[i : i + n] for i in range(0, len(rows), n)]


def _scores(mean: Tensor, deviation: Tensor, truth: Trajectories) -> Tensor:
    """``|truth - mean| / sd`` after the first frame, ``(E, N, T - 1, C, *X)``; NaN where not observed."""
    error = (truth.states.to(mean) - mean)[:, :, 1:].abs()
    # A forecast that left the finite numbers, and an error where none was expected, are infinitely wrong.
    score = torch.where(error == 0, 0.0, error / deviation[:, :, 1:]).nan_to_num(nan=torch.inf, posinf=torch.inf)
    return score if truth.mask is None else torch.where(truth.mask[:, :, 1:].to(score.device), score, torch.nan)


def _scales(scores: Tensor, by: tuple[str, ...]) -> Tensor:
    """Quantiles ``(L, T', C')`` of scores ``(K, N, T, C, *X)``."""
    grouped = scores.flatten(4) if scores.ndim > 4 else scores[..., None]
    grouped = grouped.permute(2, 3, 0, 1, 4)  # (T, C, K, N, X)
    if "channel" not in by:
        grouped = grouped.movedim(1, -1).flatten(-2).unsqueeze(1)
    if "lead_time" not in by:
        grouped = grouped.movedim(0, -1).flatten(-2).unsqueeze(0)
    return hierarchical_quantiles(grouped.flatten(3), LEVELS)


def _regions(
    models: Sequence[DecomposedDynamics], parts: Sequence[Adapted | AdaptedEnsemble], seen: Trajectories | None
) -> tuple[tuple[Region, ...], Tensor]:
    """Where the seen contexts of each member lie, and which held-out environments tell what is ordinary."""
    found = [torch.cat([p.members[i].posterior()[0] for p in parts]).cpu() for i in range(len(models))]
    everyone = torch.arange(sum(len(p.members[0].support_loss()) for p in parts))
    if not all(c.shape[1] for c in found):
        return (), everyone
    if seen is not None:
        return tuple(Region.of(trained(m, data=seen).posterior()[0].cpu()) for m in models), everyone
    tables = [getattr(m.source, "table", None) for m in models]
    if all(tables):
        rows = [_free_rows(t(), member) for t, member in zip(tables, parts[0].members, strict=True) if t is not None]
        if all(len(r) > 1 and bool((r != r[:1]).any()) for r in rows):
            return tuple(Region.of(r) for r in rows), everyone
    half = everyone % 2 == 0
    return tuple(Region.of(c[half]) for c in found), everyone[~half]


def _free_rows(table: Context, adapted: Adapted) -> Tensor:
    """The seen contexts flattened as the adapted ones are, without entries that come with the data: ``(n, d)``."""
    known = adapted.model.adapter.known
    return flatten({k: table[k].detach() for k in adapted.contexts if k not in known}).double().cpu()


def _check(support: Trajectories, truth: Trajectories) -> None:
    require_trajectories(support, "calibrate's support")
    require_trajectories(truth, "calibrate's truth")
    if support.n_environments != truth.n_environments or support.state_shape != truth.state_shape:
        raise ShapeError(
            f"Support and truth must be of the same environments and states; got {support.n_environments} and "
            f"{truth.n_environments} environments, states {support.state_shape} and {truth.state_shape}."
        )
    a, b = support.parameters, truth.parameters
    if a is not None and b is not None and (a.shape != b.shape or not torch.allclose(a.double(), b.double())):
        raise DataError("The parameters of support and truth differ. Give the same environments in the same order.")
    frames = min(len(support.times), len(truth.times))
    cut = slice(0, frames)
    same = (support.states[:, :, None, cut] == truth.states.to(support.states)[:, None, :, cut]).flatten(3).all(3)
    if bool(same.any()):
        raise DataError(
            "The truth repeats trajectories of the support, whose errors are smaller than those of forecasts. Give others."
        )
