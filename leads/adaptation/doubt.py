"""Whether a single solve can be trusted, or has to be done again from several starts and with a prior.

The first solve of an environment is doubted where

- **its fit is poor**: the residuals keep more than ``POOR`` of the variance of what was observed about its mean in time
  (and, where the noise is known, are more than ``MISFIT`` times as large as it). A poor minimum looks like this, and so
  does noise as large as a fifth of the signal: whoever knows the noise says so, and is spared the restart;
- **a direction is open**: fewer than ``PER_UNKNOWN`` values were observed for each unknown, and they leave a standard deviation of more than ``OPEN`` times that of the seen
  environments in some direction of the context. Where the noise is estimated, its upper 95 % confidence bound counts, so
  that a fit with no more observations than unknowns, whose residuals are nothing, is not taken for an exact one.

Such an environment is solved again with the prior of the seen environments and from ``STARTS`` starts. All others are
left as they are, at no more cost than a small eigenvalue problem.
"""

from __future__ import annotations

import torch
from torch import Tensor

from leads.adaptation.prior import seen_contexts, seen_gaussian
from leads.adaptation.support import counts
from leads.adapters import Context
from leads.contexts.source import ContextSource
from leads.errors import SettingsError
from leads.trajectories import Trajectories

#: Share of the observations' variance that a good fit leaves at most.
POOR = 0.02
#: Observed values of an environment up to which a poor fit is a reason.
FEW = 1000
#: Size of the residuals in units of the known noise up to which the noise explains them.
MISFIT = 2.0
#: Standard deviation of a context, in units of the seen environments', from which a direction counts as open.
OPEN = 0.25
#: Observed values for each unknown (of the context and of first states that are estimated) from which on no direction
#: counts as open: what then is wide, is wide by the model's own error.
PER_UNKNOWN = 10
#: Ratio of variances of the seen contexts below which they count as lying in a plane.
FLAT = 1e-8
#: Starts of an environment that is solved again.
STARTS = 4


def seen_covariance(source: ContextSource, start: Context) -> Tensor | None:
    """Covariance of the seen contexts ``(d, d)``, or ``None`` where the source keeps none, or they lie in a plane, so that
    they say nothing of the directions out of it."""
    try:
        covariance = seen_gaussian(seen_contexts(source, start))[1]
    except SettingsError:
        return None
    spread = torch.linalg.eigvalsh(covariance)
    return covariance if float(spread[0]) > FLAT * float(spread[-1]) else None


def poor_fits(unexplained: Tensor, misfit: Tensor | None, support: Trajectories) -> Tensor:
    """Environments whose residuals are too large, ``(E,)``.

    Args:
        unexplained: mean square of the residuals, in the units of the data, ``(E,)``.
        misfit: their size in units of the known noise, ``(E,)``, or ``None`` where it is not known.
        support: the observations.
    """
    x = support.states
    if support.mask is not None:
        x = torch.where(support.mask, x, torch.nan)
    spread = (x - x.nanmean(2, keepdim=True)).square().flatten(1).nanmean(1).to(unexplained)
    # Observations that never change have no variance to be explained, and are warned of elsewhere.
    poor = (unexplained > POOR * spread) & (spread > 0) & (counts(support, 0) <= FEW)
    return poor if misfit is None else poor & (misfit > MISFIT)


def open_directions(precision: Tensor, noise_bound: Tensor, seen: Tensor, count: Tensor, unknowns: Tensor) -> Tensor:
    """Environments that the observations leave open in a direction, ``(E,)``.

    Args:
        precision: of the contexts by the observations alone, ``(E, d, d)``.
        noise_bound: upper bound of the noise's variance over its estimate, ``(E,)``.
        seen: covariance of the seen contexts, ``(d, d)``.
        count, unknowns: observed values and unknowns of each environment, ``(E,)``.
    """
    root = torch.linalg.cholesky(seen.to(precision))
    known = torch.linalg.eigvalsh(root.mT @ precision.nan_to_num() @ root)[:, 0]
    return (known < noise_bound / OPEN**2) & (count < PER_UNKNOWN * unknowns)


def noise_bound(freedom: Tensor) -> Tensor:
    """Upper 95 % confidence bound of a Gaussian noise's variance over its estimate from ``freedom`` degrees of freedom.

    ``nu / chi^2_{0.05, nu}``, the quantile as Wilson and Hilferty (1931), "The distribution of chi-square", PNAS 17;
    without a degree of freedom there is no bound.
    """
    part = 2 / (9 * freedom.clamp_min(1))
    quantile = (1 - part - 1.6449 * part.sqrt()).clamp_min(1e-3) ** 3
    return torch.where(freedom >= 1, 1 / quantile, torch.inf)
