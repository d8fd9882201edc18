"""Contexts refined by new observations, at the cost of the new ones alone."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from leads.adaptation.adapted import Adapted
from leads.adaptation.recursive import Quadratic, gauss_newton
from leads.adaptation.tangents import Tangents
from leads.contexts.flat import unflatten
from leads.errors import DataError, DivergenceError, SettingsError, ShapeError
from leads.integrators import check_times
from leads.trajectories import Trajectories
from leads.trajectories.segments import windows
from leads.trajectories.trajectories import require_frames, require_trajectories


@dataclass(frozen=True)
class Innovation:
    """How far new observations lay from what was forecast for them.

    With the forecast errors v of an environment's n new values, their derivatives H in all that is estimated, and the
    information Lambda before them, ``statistic = v' (I + H Lambda^-1 H')^-1 v / s^2``. For a linear model with Gaussian
    noise it is chi-square with n degrees of freedom where the noise s is given; where s^2 is estimated on f degrees of
    freedom, ``statistic / n`` is F-distributed with (n, f). Statistics of successive updates are independent.

    Attributes:
        statistic: shape ``(E,)``.
        degrees: n, shape ``(E,)``; 0 where nothing was observed.
        freedom: f, shape ``(E,)``; infinite where the noise is given.
        time: of the last new observation.

    Source: Bar-Shalom, Li and Kirubarajan (2001), Estimation with Applications to Tracking and Navigation, section 5.4;
    Brown, Durbin and Evans (1975), JRSS B 37 (independence, with s estimated).
    """

    statistic: Tensor
    degrees: Tensor
    freedom: Tensor
    time: float


class OnlineAdapter:
    """An adaptation that goes on while observations come in.

    Of all observations so far it keeps the estimate, the information matrix ``Lambda`` (the sum of ``J' J``), and the
    estimated present state with its derivatives G in what is estimated. An update finds, by a few Gauss-Newton steps,

        min over d of  |forecast(x + G d, c + d) - new observations|^2 + d' Lambda d

    and adds the new ``J' J`` to Lambda: for a forecast that is linear in its context, the fit to all observations at once.
    Otherwise the old ones stay linearised where they were, which is exact to second order in the changes.

    Args:
        adapted: where to start, what :func:`leads.adapt` returned.
        support: the observations it was adapted to.
        noise: standard deviation of the observations' noise; estimated from the residuals where ``None``.
        estimate_start: whether first frames are noisy like all others, and estimated along with the contexts; else they
            are taken as exact, as :func:`leads.adapt` does. It adds N C X directions to the d of the context.
        forgetting: factor per frame by which older observations lose weight, in (0, 1]: 0.95 remembers about 20 frames.
            With it, parameters may drift.
        model_error: standard deviation of the error that the model itself adds to the state at every frame
            (:func:`frame_error` measures it on training data). Without it a learned model is taken as exact, and over a
            record longer than those that it was trained on its errors pass for changes. It needs ``noise`` and
            ``estimate_start``. Frames are then taken one at a time, also those of the support: from the adapted contexts,
            as if they were known a tenth as well as one mean frame tells.
        iterations, tolerance: of the Gauss-Newton steps: how many at most, and the relative decrease that ends them.

    Raises:
        SettingsError: settings out of range, a model without contexts, too many directions.
        ShapeError, DataError: support of other environments.
        DivergenceError: a rollout that is not finite.

    Source: recursive least squares in information form, e.g. Kailath, Sayed and Hassibi (2000), Linear Estimation,
    section 9; model errors as in the Kalman filter's prediction; the relinearised step is the iterated Kalman filter's, Bell and Cathey (1993), IEEE TAC 38.
    """

    def __init__(
        self,
        adapted: Adapted,
        support: Trajectories,
        *,
        noise: float | None = None,
        estimate_start: bool = False,
        forgetting: float = 1.0,
        model_error: float = 0.0,
        iterations: int = 5,
        tolerance: float = 1e-10,
    ) -> None:
        if not 0 < forgetting <= 1 or iterations < 1 or tolerance < 0 or (noise is not None and not noise > 0):
            raise SettingsError(
                "forgetting lies in (0, 1], iterations is at least 1, noise and tolerance are not negative; got "
                f"forgetting={forgetting}, iterations={iterations}, noise={noise}, tolerance={tolerance}."
            )
        if model_error < 0 or (model_error and (noise is None or not estimate_start or adapted.model.history > 1)):
            raise SettingsError(
                "model_error is not negative, and goes with noise, estimate_start=True and a model of one frame; got "
                f"model_error={model_error}, noise={noise}, estimate_start={estimate_start}, "
                f"history={adapted.model.history}."
            )
        self.model_error = model_error
        self.model, self.noise, self.forgetting = adapted.model, noise, forgetting
        self.estimate_start, self.iterations, self.tolerance = estimate_start, iterations, tolerance
        self._adapted, self._tangents = adapted, Tangents(adapted.model, adapted.contexts)
        self._flat = self._tangents.start
        e, d = self._flat.shape
        self._belief = Quadratic(self._flat.new_zeros(e, d, d), self._flat.new_zeros(e), self._flat.new_zeros(e))
        self._free = d
        self.innovation: Innovation | None = None
        self._check(support, True)
        self._absorb(support, True)
        if self.model_error:
            part = 0.1 / (len(support.times) - 1)
            self._belief = self._belief.marginal(d).faded(part)
            self.update(support, fresh=True)
        self.innovation = None

    @property
    def adapted(self) -> Adapted:
        """The present estimate, as :func:`leads.adapt` would return it."""
        return self._adapted

    @property
    def time(self) -> float:
        """Of the last observation."""
        return self._time

    @property
    def state(self) -> Tensor:
        """The estimated state at :attr:`time`, shape ``(E, N, C, *X)``: a forecast, corrected by the observations."""
        return self._tail if self.model.history == 1 else self._tail[:, :, -1]

    def forecast(self, times: Tensor) -> Tensor:
        """Forecast from the present estimate on.

        Args:
            times: shape ``(T,)``, later than :attr:`time`.

        Returns:
            Shape ``(E, N, T, C, *X)``, float64.
        """
        return self._tangents.forecast(self._tail, self._after(times), self._flat)[:, :, 1:]

    def forget(self, keep: float | Tensor) -> None:
        """Multiply the weight of all observations so far by ``keep``, one factor or one an environment ``(E,)``."""
        factor = torch.as_tensor(keep, dtype=self._flat.dtype, device=self._flat.device)
        if not bool(((factor > 0) & (factor <= 1)).all()):
            raise SettingsError(f"What is kept of the past lies in (0, 1], got {keep}.")
        self._belief = self._belief.faded(factor)

    def update(self, more: Trajectories, fresh: bool = False) -> Adapted:
        """Take in new observations.

        Args:
            more: frames that follow those seen so far, of the same trajectories: every one is an observation, none a
                start. With ``fresh``, other trajectories of the same environments: their first frames are starts.
            fresh: see ``more``; later updates continue the fresh ones.

        Returns:
            The refined estimate. Where an error is raised, the old one stays.

        Raises:
            ShapeError, DataError: other environments or states, or times that do not follow.
            DivergenceError: a rollout that is not finite.
        """
        self._check(more, fresh)
        if not self.model_error:
            return self._absorb(more, fresh)
        kept = dict(vars(self))
        try:
            for k in range(fresh, len(more.times)):
                begins = fresh and k == 1
                self._absorb(more.select(frames=slice(k - begins, k + 1)), begins)
        except DivergenceError:
            vars(self).update(kept)
            raise
        return self._adapted

    def _absorb(self, more: Trajectories, fresh: bool) -> Adapted:
        """Take in all these observations at once."""
        began = time.perf_counter()
        history = self.model.history
        belief, start, slopes, times = self._begin(more, fresh)
        skip = history if fresh else 0
        target, mask = more.states[:, :, skip:].to(self._flat), more.mask
        observed = None if mask is None else mask[:, :, skip:].to(target.device)
        target = target if observed is None else torch.where(observed, target, torch.zeros_like(target))
        prior = belief.faded(self.forgetting ** target.shape[2])
        d, m = self._free, belief.size
        moves = torch.eye(m, d, dtype=target.dtype, device=target.device)

        def linearise(delta: Tensor) -> tuple[Tensor, Tensor, Any]:
            x = start if slopes is None else start + torch.einsum("em,em...->e...", delta, slopes)
            forecast, tangent = self._tangents.linearise(x, times, self._flat + delta[:, :d], moves, slopes)
            error, rows = forecast[:, :, 1:] - target, tangent[:, :, :, 1:]
            if observed is not None:
                error = torch.where(observed, error, error.new_zeros(()))
                rows = torch.where(observed[:, None], rows, rows.new_zeros(()))
            tail = self._tail_of(x, forecast, 2), self._tail_of(slopes, tangent, 3)
            return error.flatten(1), rows.flatten(2).mT, tail

        residual, jacobian, _ = first = linearise(target.new_zeros(len(target), m))
        bad = ~(torch.isfinite(residual).all(1) & torch.isfinite(jacobian).flatten(1).all(1))
        if bool(bad.any()):
            raise DivergenceError(
                f"The forecast of environment {int(bad.nonzero()[0])} for the new observations is not finite. Start "
                "again by leads.adapt on recent data, or update more often."
            )
        count = torch.full_like(residual[:, 0], residual.shape[1])
        count = count if observed is None else observed.flatten(1).sum(1).to(count)
        innovation = self._innovation(prior, residual, jacobian, count, float(more.times[-1]))
        floor = torch.finfo(target.dtype).eps ** 2 * target.square().flatten(1).sum(1)
        delta, steps, sound, (residual, jacobian, tail) = gauss_newton(
            linearise, first, prior.information, self.iterations, self.tolerance, floor
        )
        self._belief = prior.joined(delta, residual, jacobian, count)
        self._flat = self._flat + delta[:, :d]
        self._tail, self._slopes = tail
        if self.model_error:
            self._shake()
        self._time, self.innovation = float(more.times[-1]), innovation
        loss = residual.square().sum(1) / count.clamp_min(1)
        info = {
            "solver": "online",
            "iterations": steps,
            "seconds": time.perf_counter() - began,
            "loss": loss.tolist(),
            "converged": sound.tolist(),
        }
        self._adapted = self._as_adapted(info)
        return self._adapted

    def _shake(self) -> None:
        """Add the model's error over one frame to the present state."""
        variance, _ = self._variance(self._belief)
        self._belief = self._belief.carried(self._slopes.flatten(2), self._free, self.model_error**2 / variance)
        self._slopes = self._unit(self._tail)

    def _begin(self, more: Trajectories, fresh: bool) -> tuple[Quadratic, Tensor, Tensor | None, Tensor]:
        """What is known before the update, the start of the rollout, its derivatives ``(E, m, ...)``, and the times."""
        if not fresh:
            return self._belief, self._tail, self._slopes, self._after(more.times)
        start = more.first(self.model.history).to(self._flat)
        times = more.times[self.model.history - 1 :]
        # What was estimated of the trajectories before has no part in the fresh ones.
        belief = self._belief.marginal(self._free)
        if not self.estimate_start:
            return belief, start, None, times
        return belief.extended(start[0].numel()), start, self._unit(start), times

    def _unit(self, start: Tensor) -> Tensor:
        """Derivatives ``(E, m, ...)`` of a start in the context, none, and in its own q values."""
        q = start[0].numel()
        rows = torch.cat([start.new_zeros(self._free, q), torch.eye(q, dtype=start.dtype, device=start.device)])
        return rows.reshape(1, -1, *start.shape[1:]).expand(len(start), -1, *start.shape[1:])

    def _tail_of(self, before: Tensor | None, after: Tensor, axis: int) -> Tensor:
        """The frames from which a forecast goes on; ``after`` starts with the last frame of ``before``."""
        history = self.model.history
        if history == 1:
            return after.select(axis, -1)
        shape = list(after.shape)
        shape[axis] = history - 1
        early = after.new_zeros(shape) if before is None else before.narrow(axis, 0, history - 1)
        return torch.cat([early, after], axis).narrow(axis, history - 1 + after.shape[axis] - history, history)

    def _innovation(self, prior: Quadratic, v: Tensor, h: Tensor, count: Tensor, now: float) -> Innovation:
        pull = (h.mT @ v[:, :, None])[:, :, 0]
        inner = torch.linalg.pinv(prior.information + h.mT @ h, hermitian=True)
        square = (v.square().sum(1) - torch.einsum("ei,eij,ej->e", pull, inner, pull)).clamp_min(0)
        variance, freedom = self._variance(prior)
        return Innovation(square / variance.clamp_min(1e-300), count, freedom, now)

    def _variance(self, belief: Quadratic) -> tuple[Tensor, Tensor]:
        """Of the noise, and the degrees of freedom that it is known by; both ``(E,)``."""
        if self.noise is not None:
            return torch.full_like(belief.squares, self.noise**2), torch.full_like(belief.squares, torch.inf)
        freedom = (belief.count - self._free).clamp_min(1)
        return belief.squares / freedom, freedom

    def _as_adapted(self, info: dict[str, Any]) -> Adapted:
        old = self._adapted
        free = {k: v for k, v in old.contexts.items() if k not in self.model.adapter.known}
        contexts = {k: v.to(free[k]) for k, v in unflatten(self._flat, free).items()}
        variance, _ = self._variance(self._belief)
        covariance = variance[:, None, None] * torch.linalg.pinv(self._belief.information, hermitian=True)
        d = self._free
        return replace(old, contexts={**old.contexts, **contexts}, covariance=covariance[:, :d, :d], info=info)

    def _after(self, times: Tensor) -> Tensor:
        """Times of a rollout from the present state to ``times``."""
        check_times(times)
        if not float(times[0]) > self._time:
            raise DataError(
                f"These times start at {float(times[0]):g}, but observations up to {self._time:g} are in already. Pass "
                "what came after, or fresh=True for other trajectories."
            )
        return torch.cat([times.new_tensor([self._time]), times])

    def _check(self, more: Trajectories, fresh: bool) -> None:
        require_trajectories(more, "update")
        if fresh:
            require_frames(more, self.model.history, "fresh trajectories")
        e = len(self._flat)
        if more.n_environments != e:
            raise ShapeError(f"The observations cover {more.n_environments} environments (axis 0), the contexts {e}.")
        expected = tuple(more.states.shape[:2] + more.states.shape[3:]) if fresh else tuple(self.state.shape)
        shape = self.model.recipe.get("state_shape")
        if fresh and shape is not None:
            expected = (*expected[:2], *shape)
        if tuple(more.states.shape[:2] + more.states.shape[3:]) != expected:
            raise ShapeError(
                f"Observations need shape (E, N, T, C, *X) with (E, N, C, *X) = {expected}, got "
                f"{tuple(more.states.shape)}. Other trajectories of these environments come with fresh=True."
            )


@torch.no_grad()
def frame_error(adapted: Adapted, data: Trajectories) -> float:
    """Root mean square error of forecasts from each frame to the next: a model's own error where data are free of noise.

    A record that visits states that the training data did not is forecast worse than they are: measure on data of the
    kind to come, for instance on a calm stretch.

    Args:
        adapted: for instance the seen environments, :func:`leads.trained`.
        data: trajectories of the same environments.
    """
    cut = windows(data.to(adapted.like().device, adapted.like().dtype), 1, adapted.model.history)
    error = adapted.model.residuals(cut, adapted.contexts)
    return float((error.square().flatten(1).sum(1) / cut.count(error)).mean().sqrt())
