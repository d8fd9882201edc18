"""The settings of an adaptation."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch

from leads.errors import SettingsError, UnknownNameError
from leads.registry import nearest

SOLVERS = ("auto", "levenberg_marquardt", "gauss_newton", "gradient", "none")
INITIAL = ("given", "estimated")
ROBUST = ("huber", "cauchy")
#: The prior that is fitted to the contexts of the seen environments.
SEEN = "seen"


@dataclass(frozen=True)
class AdaptSettings:
    """How contexts of new environments are found.

    The Gauss-Newton solvers (``levenberg_marquardt`` and ``gauss_newton``) minimise, for each environment with n observed
    values and residuals r (forecast minus observation, over the noise where that is known),

    ``1/n sum_i rho(r_i) + prior``,

    over the context and, where asked for, over the first state of every trajectory.

    Attributes:
        solver: ``"levenberg_marquardt"``, ``"gauss_newton"`` (no matrix is formed: conjugate gradients), ``"gradient"``
            (Adam), ``"none"`` (contexts stay as the model's source gives them), or ``"auto"``: ``"none"`` where the
            source has adapted them already (an inner loop, an encoder) and nothing is asked for that it does not know, the
            first where a context, and a state that is estimated, have at most ``small`` values each; the second where
            the states that are estimated have more, or where settings ask for what the third does not know (a known
            noise, robust losses, bounds, starts, the prior of the seen); otherwise the third.
        small: see ``solver``.
        iterations: most Gauss-Newton iterations.
        tolerance: a relative decrease of the loss below it counts as converged.
        prior: a number is the weight of ``|context - start|^2`` beside the mean square error. ``"seen"`` is a Gaussian
            with the mean and covariance of the seen environments' contexts, weighed against the noise: it carries what
            too few observations leave open (:mod:`leads.adaptation.prior`). Gauss-Newton solvers only. ``None``: none,
            but that Levenberg-Marquardt takes ``"seen"`` for environments whose first solve is in doubt, see ``starts``.
        steps, lr: of the gradient solver; its rate decays to zero on a cosine.
        seed: of contexts that start at random (networks of an environment's own), and of further starts.
        initial: ``"given"``: the first frames are exact; their entries that are marked as not observed are used as they
            are. ``"estimated"``: the first frame is an observation like any other, with noise or missing in part or
            whole, and the states from which trajectories start are found along with the context.
        noise: known standard deviation of the observations, one number or one a channel; ``None`` where it is unknown
            and, where it matters, estimated from the residuals.
        robust: ``"huber"`` or ``"cauchy"``: a loss that outliers do not rule, instead of the square
            (:mod:`leads.adaptation.robust`). Gauss-Newton solvers only.
        robust_scale: residual, in units of the noise, from which it differs from the square; by default the one with
            95 % efficiency under Gaussian noise.
        bounds: lowest and highest context, ``(low, high)``, each a number or one a value of the flattened context.
            Gauss-Newton solvers only.
        starts: number of starting contexts of each environment: the usual one, the seen contexts with the least loss, and
            draws (from the Gaussian of seen contexts, or within ``bounds``). All are fitted in one batch and the best is
            kept. Gauss-Newton solvers only. ``None``: one, and in Levenberg-Marquardt, where the fit is poor (of at most 1,000 observed values it leaves more than 2 % of
            the variance, and the known noise does not explain that) or fewer than ten observed
            values for each unknown leave a direction of the context open (by more than a quarter of the seen
            environments' spread), a second solve from four starts
            with ``prior="seen"``; the rule is that of :mod:`leads.adaptation.doubt`. It needs a table of seen contexts,
            or ``bounds`` for the starts. ``Adapted.info["restarted"]`` says where and why. ``starts=1, prior=0.0`` is
            plain least squares from one start, always.

    Raises:
        SettingsError, UnknownNameError: settings outside their range, or of names that do not exist.
    """

    solver: str = "auto"
    small: int = 64
    iterations: int = 50
    tolerance: float = 1e-8
    # Any: Hydra's schemas know neither lists nor tensors in a union.
    prior: Any = None
    steps: int = 2000
    lr: float = 3e-3
    seed: int = 0
    initial: str = "given"
    noise: Any = None
    robust: str | None = None
    robust_scale: float | None = None
    bounds: Any = None
    starts: int | None = None

    def __post_init__(self) -> None:
        for what, value, known in (
            ("adaptation solver", self.solver, SOLVERS),
            ("treatment of initial states", self.initial, INITIAL),
            ("robust loss", self.robust, (None, *ROBUST)),
        ):
            if value not in known:
                names = [k for k in known if k is not None]
                raise UnknownNameError(f"No {what} is named {value!r}. {nearest(str(value), names)}")
        if isinstance(self.prior, str):
            if self.prior != SEEN:
                raise UnknownNameError(
                    f"No prior is named {self.prior!r}. It is {SEEN!r}, fitted to the seen contexts, or a number."
                )
        elif self.prior is not None and (not _is_number(self.prior) or self.prior < 0):
            raise SettingsError(f"prior must be {SEEN!r} or a number that is not negative, got {self.prior!r}.")
        if self.iterations < 1 or self.steps < 1 or not self.lr > 0 or self.tolerance < 0:
            raise SettingsError(f"iterations, steps and lr must be positive, tolerance not negative; got {self}.")
        if self.starts is not None and (not isinstance(self.starts, int) or self.starts < 1):
            raise SettingsError(f"starts counts the starting contexts, at least 1, got {self.starts}.")
        if self.robust_scale is not None and not self.robust_scale > 0:
            raise SettingsError(f"robust_scale must be positive, in units of the noise; got {self.robust_scale}.")
        if self.robust_scale is not None and self.robust is None:
            raise SettingsError(f"robust_scale belongs to a robust loss: add robust='huber' or one of {ROBUST}.")
        if self.noise is not None and not all(n > 0 and math.isfinite(n) for n in _numbers(self.noise, "noise")):
            raise SettingsError(f"noise is a standard deviation, positive and finite; got {self.noise!r}.")
        if self.bounds is not None:
            self._check_bounds()

    def _check_bounds(self) -> None:
        if not isinstance(self.bounds, (list, tuple, torch.Tensor)) or len(self.bounds) != 2:
            raise SettingsError(f"bounds are a pair (low, high), got {self.bounds!r}.")
        low, high = (_numbers(b, "bounds") for b in self.bounds)
        if len(low) != len(high) and 1 not in (len(low), len(high)):
            raise SettingsError(f"bounds: low has {len(low)} values, high {len(high)}.")
        pairs = zip(low * max(1, len(high) // len(low)), high * max(1, len(low) // len(high)), strict=True)
        if not all(a < b for a, b in pairs):
            raise SettingsError(f"bounds: low must lie below high, got {self.bounds!r}.")

    def noise_of(self, channels: int) -> torch.Tensor | None:
        """Standard deviation of every channel, shape ``(C,)``, float64, or ``None``.

        Raises:
            SettingsError: it has another number of channels.
        """
        if self.noise is None:
            return None
        values = _numbers(self.noise, "noise")
        if len(values) not in (1, channels):
            raise SettingsError(
                f"noise has {len(values)} values, the observations {channels} channels. Give one number, or one a channel."
            )
        return torch.tensor(values, dtype=torch.float64).expand(channels).clone()

    def box(self, size: int) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Bounds of the flattened context, two of shape ``(size,)``, float64, or ``None``.

        Raises:
            SettingsError: they have another number of values.
        """
        if self.bounds is None:
            return None
        sides = [_numbers(b, "bounds") for b in self.bounds]
        for side in sides:
            if len(side) not in (1, size):
                raise SettingsError(
                    f"bounds have {len(side)} values, a context has {size}. Give one number, or one a value."
                )
        low, high = (torch.tensor(s, dtype=torch.float64).expand(size).clone() for s in sides)
        return low, high


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _numbers(value: Any, what: str) -> list[float]:
    """One number or a sequence of them as a list."""
    if isinstance(value, torch.Tensor) or hasattr(value, "tolist"):
        value = value.tolist()
    items = list(value) if isinstance(value, Iterable) and not isinstance(value, str) else [value]
    if not items or not all(isinstance(i, (int, float)) and not isinstance(i, bool) for i in items):
        raise SettingsError(f"{what} must be numbers, got {value!r}.")
    return [float(i) for i in items]
