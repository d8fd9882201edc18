"""Strong-constraint 4D-Var: the initial state that a model needs to pass through the observations."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from leads.adapters import Context
from leads.dynamics import DecomposedDynamics
from leads.errors import DataError, DivergenceError, SettingsError, ShapeError
from leads.hidden.background import Background
from leads.hidden.dynamics import HiddenStateDynamics
from leads.hidden.lbfgs import Minimum, minimise
from leads.observation import Operator
from leads.trajectories import Trajectories


@dataclass(frozen=True)
class Analysis:
    """Initial states found by :func:`fourdvar`.

    Attributes:
        initial: at the first of ``times``, ``(E, N, C, *X)``.
        final: the model's state at the last one, from which a forecast goes on; same shape.
        times: of the observations that were used.
        cost: J at the minimum, ``(E, N)``.
        history: J after every iteration, ``(iterations + 1, E, N)``.
        converged: ``(E, N)``.
    """

    initial: Tensor
    final: Tensor
    times: Tensor
    cost: Tensor
    history: Tensor
    converged: Tensor


def fourdvar(
    model: DecomposedDynamics,
    contexts: Context,
    observed: Trajectories,
    background: Background,
    *,
    mean: Tensor | float = 0.0,
    noise: float | tuple[float, ...] | None = None,
    iterations: int = 40,
    tolerance: float = 1e-3,
) -> Analysis:
    """Minimise, for each trajectory, over the state x0 at the first observation

        J(x0) = 1/2 (x0 - xb)^T B^-1 (x0 - xb) + 1/2 sum_k |(H(t_k) M(x0, t_k) - y_k) / sigma|^2

    in the variable v of ``x0 = xb + B^(1/2) v`` by L-BFGS from v = 0. M is the model (strong constraint: without an error of
    its own), H the operator; what is masked does not count. Gradients go through the integrator.

    Args:
        model: one with a hidden state, whose full dynamics and operator are used, or dynamics of the full state, for which
            ``observed`` brings the operator.
        contexts: stacked along E.
        observed: the window of observations, all frames of which count.
        background: B.
        mean: xb, broadcasting against ``(E, N, C, *X)``: a climatology, or the states of an encoder at that time.
        noise: sigma of each observed channel; by default what the operator's own noise says.
        iterations, tolerance: of L-BFGS, see :func:`leads.hidden.lbfgs.minimise`.

    Raises:
        SettingsError: no operator, no noise known, or dynamics that start from several frames.
        ShapeError: contexts or a background of another shape.
        DivergenceError: the model leaves the finite numbers from a background.

    Source: Talagrand and Courtier (1987), QJRMS 113, 1311 (the adjoint method); Courtier et al. (1994), QJRMS 120, 1367, for
    the control variable.
    """
    full, operator = _parts(model, observed)
    layout = operator.bound
    like = next(iter([*model.parameters(), observed.states]))
    data = observed.to(like.device, like.dtype)
    e, n = data.states.shape[:2]
    y, t = data.states, data.times.to(like.device)
    seen = torch.ones_like(y, dtype=torch.bool) if data.mask is None else data.mask
    sigma = _deviations(operator, noise, like)
    shape = (e, n, *layout.state_shape)
    try:
        xb = torch.as_tensor(mean, dtype=like.dtype, device=like.device).expand(shape)
    except RuntimeError as error:
        raise ShapeError(
            f"The background's mean has shape {tuple(torch.as_tensor(mean).shape)}, which does not go with {shape}."
        ) from error
    held = {k: v.detach() for k, v in contexts.items()}

    def state(v: Tensor) -> Tensor:
        return xb + background.root(v.reshape(shape), layout)

    def cost(v: Tensor) -> Tensor:
        path = full.rollout(state(v), data.times, held)
        misfit = torch.where(seen, (operator(path, t) - y) / sigma, y.new_zeros(()))
        return 0.5 * (v.square().sum(1) + misfit.flatten(2).square().sum(2).flatten())

    start = like.new_zeros(e * n, xb[0, 0].numel())
    found: Minimum = minimise(cost, start, iterations, tolerance=tolerance)
    bad = ~torch.isfinite(found.value)
    if bool(bad.any()):
        row = int(bad.nonzero()[0])
        raise DivergenceError(
            f"From the background, the model leaves the finite numbers in environment {row // n}, trajectory {row % n}. Take "
            "a shorter window, more substeps, or another background.",
            environment=row // n,
            trajectory=row % n,
        )
    with torch.no_grad():
        initial = state(found.x)
        final = full.rollout(initial, data.times, held)[:, :, -1] if len(t) > 1 else initial
    rows = lambda v: v.unflatten(-1, (e, n))  # noqa: E731
    return Analysis(initial, final, observed.times, rows(found.value), rows(found.history), rows(found.converged))


def _parts(model: DecomposedDynamics, observed: Trajectories) -> tuple[DecomposedDynamics, Operator]:
    """The dynamics of the full state, and what observes it."""
    if isinstance(model, HiddenStateDynamics):
        if observed.state_shape != model.operator.output.state_shape:
            raise ShapeError(
                f"The model observes {model.operator.output.state_shape}, these observations are {observed.state_shape}."
            )
        return model.full, observed.operator or model.operator
    if model.history > 1:
        raise SettingsError(
            f"This model starts from {model.history} frames, and 4D-Var looks for one initial state. Use a model with history=1."
        )
    if observed.operator is None:
        raise DataError(
            "These observations carry no operator, so nothing says how the model's states look. Make them by "
            "leads.trajectories.observe(data, operator)."
        )
    return model, observed.operator


def _deviations(operator: Operator, noise: float | tuple[float, ...] | None, like: Tensor) -> Tensor:
    """Standard deviation of each observed channel's error, ``(C', 1, ...)``."""
    output = operator.output
    count = len(output.channels)
    if noise is None:
        sigma = operator.variance(like.new_zeros(len(operator.bound.channels))).sqrt()
    else:
        sigma = torch.as_tensor(noise, dtype=like.dtype, device=like.device).expand(count)
    if not bool((sigma > 0).all()):
        raise SettingsError(
            "4D-Var weighs observations by their error, and of these none is known. Give noise= (in the unit of the "
            f"channels {', '.join(c.name for c in output.channels)}), or observe with Noise(...)."
        )
    return sigma.reshape(-1, *(1,) * len(output.space))
