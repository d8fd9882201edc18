"""What is known of a context before anything is observed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leads.adapters import Context
from leads.contexts.flat import flatten
from leads.contexts.source import ContextSource
from leads.errors import SettingsError


@dataclass(frozen=True)
class Prior:
    """A Gaussian of flattened contexts, ``-2 log p = |L^T (c - mean)|^2`` with the precision ``L L^T``.

    Attributes:
        mean: shape ``(E, d)`` or ``(1, d)``.
        precision: shape ``(d, d)``.
        absolute: ``False`` where the precision is meant beside the mean square error (the weight of
            ``|context - start|^2``), ``True`` where it is in units of the contexts, so that the size of the noise decides
            what it weighs.
    """

    mean: Tensor
    precision: Tensor
    absolute: bool

    def cost(self, contexts: Tensor) -> Tensor:
        """``(c - mean)^T P (c - mean)``, shape ``(E,)``."""
        shift = contexts - self.mean
        return (shift * self.pull(contexts)).sum(1)

    def pull(self, contexts: Tensor) -> Tensor:
        """``P (c - mean)``, half the gradient of :meth:`cost`, shape ``(E, d)``."""
        return (contexts - self.mean) @ self.precision


def seen_contexts(source: ContextSource, like: Context) -> Tensor:
    """The contexts of the seen environments as rows of flattened ones, shape ``(K, d)``, float64.

    Raises:
        SettingsError: the source keeps no table of them.
    """
    table = getattr(source, "table", None)
    values = table() if table is not None else {}
    if not values or any(k not in values or values[k].shape[1:] != v.shape[1:] for k, v in like.items()):
        raise SettingsError(
            f"{type(source).__name__} keeps no table of seen contexts that new ones could be held to or started from. Use a "
            "number for prior, bounds for the draws of starts, or starts=1."
        )
    return flatten({k: values[k].detach() for k in like}).double()


def seen_gaussian(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean ``(d,)`` and covariance ``(d, d)`` of contexts ``(K, d)``.

    Few rows tell little of a covariance: it is shrunk towards a multiple of the identity by the linear shrinkage that
    minimises the expected squared error.

    Source: Ledoit and Wolf (2004), "A well-conditioned estimator for large-dimensional covariance matrices", Journal
    of Multivariate Analysis 88, section 3.

    Raises:
        SettingsError: fewer than two rows, or rows that are all the same.
    """
    k, d = rows.shape
    mean = rows.mean(0)
    x = rows - mean
    scale = float(x.square().sum() / (k * d)) if k > 1 else 0.0
    if not scale > 0:
        raise SettingsError(
            f"A prior cannot be fitted to {k} seen context(s) without spread. Use a number for prior, the weight of "
            "|context - start|^2."
        )
    sample = x.mT @ x / k
    target = scale * torch.eye(d, dtype=rows.dtype, device=rows.device)
    distance = (sample - target).square().sum()
    # sum_k |x_k x_k^T - S|^2 = sum_k |x_k|^4 - K |S|^2
    error = (x.square().sum(1).square().sum() - k * sample.square().sum()) / k**2
    share = float((error / distance.clamp_min(1e-300)).clamp(0.0, 1.0))
    return mean, share * target + (1 - share) * sample


def fitted_prior(weight: float | str | None, source: ContextSource, start: Context) -> Prior | None:
    """The prior that the settings name, or ``None`` for a weight of zero.

    Args:
        weight: a number, ``"seen"``, or ``None``, which is 0.
        source: of the model, whose table ``"seen"`` is fitted to.
        start: stacked starting contexts, around which a number holds.
    """
    origin = flatten(start).double()
    if isinstance(weight, str):
        mean, covariance = seen_gaussian(seen_contexts(source, start).to(origin.device))
        return Prior(mean[None], torch.linalg.inv(covariance), True)
    if not weight:
        return None
    return Prior(origin, weight * torch.eye(origin.shape[1], dtype=origin.dtype, device=origin.device), False)
