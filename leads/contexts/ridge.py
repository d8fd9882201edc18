"""Contexts in closed form, for fields that are affine in them."""

from __future__ import annotations

import torch
from torch import Tensor

from leads.adapters import Adapter, Context
from leads.contexts.flat import flatten, unflatten
from leads.contexts.source import ContextSource, Dynamics, match_rows, stacked_start
from leads.errors import DataError, DivergenceError, SettingsError, UnknownNameError
from leads.integrators import tableau
from leads.numerics.differentiation import RULES, differentiation_matrix
from leads.registry import nearest
from leads.trajectories import Trajectories
from leads.trajectories.segments import Segments, whole


class Ridge(ContextSource):
    """``c_e = argmin_c sum |dx/dt - f(t, x; c)|^2 + ridge |c - c_0|^2`` over the frames of the support.

    The derivative in time is taken from the support itself: by differences or by a spline through the frames (of a
    one-step map it is the step to the next frame, and exact). With f affine in c this is one linear least-squares
    problem per environment; all are solved together, by QR in float64. Adapting to a new environment is the same solve.

    Frames far apart spoil the derivative. ``steps`` Gauss-Newton steps on the rollouts then go on from that solution:
    the residual of the forecasts is linearised in the context by forward mode, and the same ridge problem solved. A step
    that does not lower an environment's error is not taken there.

    Frames that are not wholly observed, and those whose derivative needs an unobserved value, are left out.

    Args:
        adapter: its field is affine in the context (``Adapter.affine``).
        ridge: weight of the distance to the starting context c_0.
        derivative: rule of :func:`leads.numerics.differentiation.differentiation_matrix`.
        steps: Gauss-Newton steps on rollouts, cut as the training's loss is.
        first_order: while training, contexts count as constants; otherwise gradients flow through the solve (through
            the last step's, where there are some).

    Raises:
        SettingsError, UnknownNameError: at construction, for an adapter that is not affine or settings out of range.
        DataError: at use, where no frame is left. DivergenceError: where the field at the data is not finite.

    Source: Blanke and Lelarge (2024), "Interpretable meta-learning of physical systems" (closed-form adaptation), and the
    ridge of its public code. Matching derivatives, and the steps on rollouts, take it from regression to dynamics.
    """

    complete = True
    #: The equations are matched frame by frame, to a field of the present state.
    histories = False

    def __init__(
        self,
        adapter: Adapter,
        ridge: float = 1e-7,
        derivative: str = "spline",
        steps: int = 0,
        first_order: bool = False,
    ) -> None:
        super().__init__()
        if not adapter.affine:
            raise SettingsError(
                f"Contexts in closed form need a field that is affine in them, which {type(adapter).__name__} does not "
                "promise. Use the adapter linear_field, or find contexts by an inner loop or a table."
            )
        if derivative not in RULES:
            raise UnknownNameError(f"No derivative rule is named {derivative!r}. {nearest(str(derivative), RULES)}")
        if not ridge > 0 or steps < 0:
            raise SettingsError(f"The closed form needs ridge > 0 and steps >= 0, got ridge={ridge}, steps={steps}.")
        self.ridge, self.derivative, self.steps, self.first_order = ridge, derivative, steps, first_order

    def train_contexts(
        self, model: Dynamics, environments: Tensor | None, support: Trajectories, segments: Segments | None = None
    ) -> Context:
        match_rows(environments, support)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.first_order):
            return self._solve(model, support, segments)

    @torch.no_grad()
    def new_contexts(self, model: Dynamics, support: Trajectories) -> Context:
        return self._solve(model, support, None)

    def _solve(self, model: Dynamics, support: Trajectories, segments: Segments | None) -> Context:
        given = model.adapter.given(support.parameters)
        start = stacked_start(model.adapter, support.n_environments)
        if not start:
            return given
        origin = flatten(start)
        design, target = self.linear_problem(model, support, start, given)
        contexts = origin + ridge_solution(design, target, self.ridge).to(origin)
        cut = whole(support, model.history) if segments is None else segments
        for _ in range(self.steps):
            contexts = self._step(model, cut, contexts, start, given)
        return {**unflatten(contexts, start), **given}

    def linear_problem(
        self, model: Dynamics, support: Trajectories, start: Context, given: Context
    ) -> tuple[Tensor, Tensor]:
        """Design ``(E, M, d)`` and target ``(E, M)`` of the least-squares problem for the shift from ``start``."""
        matrix, ruled = self._derivative_rule(model, support.times)
        keep = _usable(support, matrix, ruled)
        states = support.states
        if support.mask is not None:
            states = torch.where(support.mask, states, states.new_zeros(()))
        rate = torch.einsum("st,ent...->ens...", matrix.to(states), states).flatten(1, 2)
        origin, x = flatten(start), states.flatten(1, 2)
        d = origin.shape[1]
        moves = torch.cat([origin.new_zeros(1, d), torch.eye(d).to(origin)])
        many = unflatten((origin[:, None] + moves).flatten(0, 1), start)
        known = {k: v.repeat_interleave(d + 1, 0) for k, v in given.items()}
        t = support.times.to(x).repeat(support.n_trajectories)[None]
        prepared = model.adapter.prepare_all({**many, **known})
        fields = model.adapter.forward_all(t, x.repeat_interleave(d + 1, 0), prepared).unflatten(0, (-1, d + 1))
        base = fields[:, 0]
        bad = ~torch.isfinite(fields.detach()).flatten(1).all(1)
        if bool(bad.any()):
            raise DivergenceError(
                f"The field at the data of environment {int(bad.nonzero()[0])} is not finite. Check the data's scale and "
                "units, or lower the learning rate."
            )
        weight = keep.flatten(1).reshape(*x.shape[:2], *(1,) * (x.ndim - 2)).to(x)
        design = ((fields[:, 1:] - base[:, None]) * weight[:, None]).flatten(2).mT
        return design, ((rate - base) * weight).flatten(1)

    def _derivative_rule(self, model: Dynamics, times: Tensor) -> tuple[Tensor, Tensor]:
        """What makes the field's target of the frames, ``(T, T)``, and which frames have one, ``(T,)``."""
        if tableau(model.method).order:
            return differentiation_matrix(times, self.derivative), torch.ones(len(times), dtype=torch.bool)
        # A map's target is the step to the next frame; the last frame has none.
        step = torch.eye(len(times), dtype=torch.float64)
        return torch.cat([step[1:], step[-1:]]) - step, torch.arange(len(times)) < len(times) - 1

    def _step(self, model: Dynamics, cut: Segments, contexts: Tensor, start: Context, given: Context) -> Tensor:
        """One Gauss-Newton step of each environment's residual over its context."""
        now = contexts.detach()
        e, d = now.shape
        observed = None if cut.observed is None else cut.observed.expand(e, *cut.observed.shape[1:])
        rows = lambda v: None if v is None else v.repeat_interleave(d, 0)  # noqa: E731
        many = Segments(rows(cut.initial), rows(cut.target), cut.times, rows(observed))  # type: ignore[arg-type]
        known = {k: rows(v) for k, v in given.items()}

        def residual(flat: Tensor) -> Tensor:
            return model.residuals(many, {**unflatten(flat, start), **known}).flatten(1)  # type: ignore[dict-item]

        directions = torch.eye(d).to(now).repeat(e, 1)
        jet = torch.func.jvp(residual, (rows(now),), (directions,))
        value, design = jet[0].unflatten(0, (e, d))[:, 0], jet[1].unflatten(0, (e, d)).mT
        shift = now - flatten(start)
        moved = flatten(start) + ridge_solution(
            design, torch.einsum("emd,ed->em", design, shift) - value, self.ridge
        ).to(now)
        with torch.no_grad():
            trial = model.residuals(cut, {**unflatten(moved.detach(), start), **given}).flatten(1)
            better = trial.square().sum(1) <= value.detach().square().sum(1)
        return torch.where(better[:, None], moved, contexts)


def ridge_solution(design: Tensor, target: Tensor, ridge: float) -> Tensor:
    """``argmin_c |A c - b|^2 + ridge |c|^2`` of many problems ``A (E, M, d)``, ``b (E, M)``: shape ``(E, d)``, float64.

    By QR of A with ``sqrt(ridge)`` times the unit matrix below it, so that A's condition is not squared.
    """
    a, b = design.double(), target.double()
    d = a.shape[2]
    below = (ridge**0.5 * torch.eye(d, dtype=a.dtype, device=a.device)).expand(len(a), d, d)
    q, r = torch.linalg.qr(torch.cat([a, below], 1))
    right = q.mT @ torch.cat([b, b.new_zeros(len(b), d)], 1)[:, :, None]
    return torch.linalg.solve_triangular(r, right, upper=True)[:, :, 0]


def _usable(support: Trajectories, matrix: Tensor, ruled: Tensor) -> Tensor:
    """Frames that count, ``(E, N, T)``: wholly observed, as are those that their derivative needs."""
    keep = ruled.to(support.states.device).expand(support.states.shape[:3])
    if support.mask is not None:
        missing = (~support.mask).flatten(3).any(3)
        needs = (matrix != 0).to(support.states)
        keep = keep & ~missing & (torch.einsum("st,ent->ens", needs, missing.to(support.states)) == 0)
    empty = ~keep.flatten(1).any(1)
    if bool(empty.any()):
        raise DataError(
            f"Environment {int(empty.nonzero()[0])} has no frame that is wholly observed together with those that its "
            "derivative needs. Use derivative='differences', which needs the neighbours only, or another context source."
        )
    return keep
