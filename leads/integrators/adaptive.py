"""Adaptive-step integration by torchdiffeq."""

from __future__ import annotations

from torch import Tensor, nn

from leads.errors import DivergenceError, SettingsError
from leads.integrators.fixed import Field, check_times


def integrate_adaptive(
    field: Field | nn.Module,
    x0: Tensor,
    times: Tensor,
    *,
    method: str = "dopri5",
    rtol: float = 1e-6,
    atol: float = 1e-8,
    adjoint: bool = False,
) -> Tensor:
    """Advance ``dx/dt = field(t, x)`` from ``x0`` through ``times`` with steps chosen by an error estimate.

    The steps are shared by the whole batch, so a result depends (within the tolerance) on what is solved beside it;
    fits of contexts use :func:`leads.integrators.integrate` for that reason.

    Args:
        field, x0, times: as for :func:`leads.integrators.integrate`, ``times`` of shape ``(T,)``.
        method: an adaptive method of torchdiffeq.
        rtol, atol: relative and absolute tolerance of a step.
        adjoint: gradients by the adjoint equation, in memory that does not grow with the number of steps; ``field``
            must then be a module, whose parameters receive them.

    Returns:
        States at ``times``, shape ``(T, *x0.shape)``.

    Raises:
        DivergenceError: the step size underflowed, as it does where a solution blows up or is too stiff.
        SettingsError: unknown method, or an adjoint without a module.
    """
    from torchdiffeq import odeint, odeint_adjoint

    check_times(times)
    if adjoint and not isinstance(field, nn.Module):
        raise SettingsError(
            "The adjoint needs the field as a torch.nn.Module, to know which parameters receive gradients."
        )
    solve = odeint_adjoint if adjoint else odeint
    try:
        states: Tensor = solve(field, x0, times.to(x0), method=method, rtol=rtol, atol=atol)
    except AssertionError as error:
        raise DivergenceError(
            f"The adaptive solver gave up ({error}). The solution blows up or is too stiff for {method}: shorten the "
            "horizon, loosen the tolerances, or take fixed steps."
        ) from error
    except (ValueError, KeyError) as error:
        raise SettingsError(f"torchdiffeq refused these settings: {error}.") from error
    return states
