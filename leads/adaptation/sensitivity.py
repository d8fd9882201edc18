"""How a forecast answers to its context, and through a parameter map to each physical parameter."""

from __future__ import annotations

import torch
from torch import Tensor

from leads.adaptation.adapted import Adapted
from leads.adaptation.meaning import ParameterMap
from leads.adaptation.tangents import Tangents, free_contexts
from leads.contexts.flat import flatten


def context_sensitivity(adapted: Adapted, x0: Tensor, times: Tensor) -> Tensor:
    """Derivative of the forecast in each value of the flattened context.

    Central differences in float64; 2 d + 1 rollouts in one batch.

    Args:
        adapted: E environments with contexts of d values.
        x0, times: as for :meth:`leads.Adapted.forecast`.

    Returns:
        Shape ``(E, d, N, T, C, *X)``, float64.
    """
    adapted.check_start(x0, times)
    tangents = Tangents(adapted.model, adapted.contexts)
    return tangents.linearise(x0, times, tangents.start)[1]


def parameter_sensitivity(
    adapted: Adapted, x0: Tensor, times: Tensor, parameters: ParameterMap, relative: bool = False
) -> dict[str, Tensor]:
    """Derivative of the forecast in each physical parameter, ``dx/dp = dx/dc dc/dp``.

    ``dc/dp`` is the pseudo-inverse of the map's Jacobian (:meth:`ParameterMap.inverse_jacobian`).

    Args:
        adapted, x0, times: as for :func:`context_sensitivity`.
        parameters: a map fitted for this model.
        relative: per relative change of the parameter, ``p dx/dp``, with the parameter as the map estimates it: the same
            unit, that of the state, for all.

    Returns:
        By name of the parameter: shape ``(E, N, T, C, *X)``, float64, units of the state over those of the parameter.
    """
    by_context = context_sensitivity(adapted, x0, times)
    codes = flatten(free_contexts(adapted.model, adapted.contexts)).detach().double()
    turn = parameters.inverse_jacobian(codes)
    if relative:
        turn = turn * parameters(codes).values[:, None]
    by_parameter = torch.einsum("edp,ed...->pe...", turn.to(by_context), by_context)
    return {spec.name: by_parameter[i] for i, spec in enumerate(parameters.specs)}
