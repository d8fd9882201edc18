"""From contexts back to physics: the parameters of an environment, with error bars, read off its context."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from leads.adaptation.adapt import adapt
from leads.adaptation.adapted import Adapted, trained
from leads.adaptation.maps import GaussianProcess, Polynomial, Regression
from leads.adaptation.settings import AdaptSettings
from leads.adaptation.tangents import free_contexts
from leads.contexts.flat import flatten
from leads.dynamics import DecomposedDynamics
from leads.environments import EnvironmentFamily, Parameter
from leads.errors import DataError, SettingsError, ShapeError, UnknownNameError
from leads.registry import nearest
from leads.trajectories import Trajectories, simulate
from leads.trajectories.generate import draw_states

KINDS = ("auto", "linear", "quadratic", "gaussian_process")
#: A map looks at no more directions of the contexts than this.
MOST = 16


@dataclass(frozen=True)
class Estimate:
    """Physical parameters of E environments, as far as they varied where the map was fitted.

    Attributes:
        values: shape ``(E, P)``.
        covariance: of the values, ``(E, P, P)``: the map's own error (independent between parameters) and the context's.
        specs: name, unit and range of each of the P parameters.
    """

    values: Tensor
    covariance: Tensor
    specs: tuple[Parameter, ...]

    @property
    def std(self) -> Tensor:
        """One standard deviation, shape ``(E, P)``."""
        return self.covariance.diagonal(dim1=1, dim2=2).clamp_min(0).sqrt()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(p.name for p in self.specs)

    @property
    def units(self) -> tuple[str, ...]:
        return tuple(p.unit for p in self.specs)

    def __str__(self) -> str:
        head = ["environment", *(f"{p.name} [{p.unit}]" for p in self.specs)]
        rows = [
            [str(e), *(f"{v:.4g} ± {s:.1g}" for v, s in zip(value, std, strict=True))]
            for e, (value, std) in enumerate(zip(self.values.tolist(), self.std.tolist(), strict=True))
        ]
        wide = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)).rstrip() for row in [head, *rows]]
        return "\n".join(lines)


class ParameterMap:
    """A regression from contexts to the physical parameters that vary between the environments it is fitted on.

    Contexts ``c`` are first written in k main directions of their spread, ``z = S^-1 V' (c - mean)``, each of variance
    one; the map is linear or quadratic in z, or a Gaussian process. Kind and k are those with the least mean square
    error over environments left out in turn, in units of each parameter's variance. With the map's own variance
    ``v(z)`` and its Jacobian ``A = dp/dc``, an estimate has covariance ``diag(v) + A cov(c) A'``.

    Args:
        contexts: flattened, shape ``(n, d)``.
        parameters: true ones of the same environments, ``(n, P)``.
        specs: name, unit and range of each parameter; ``p0``, ``p1``, ... by default.
        kind: ``"linear"``, ``"quadratic"``, ``"gaussian_process"`` (needs scikit-learn), or ``"auto"``: the best of
            those that can be fitted. A quadratic map is, where n exceeds its number of monomials by at least two.

    Attributes:
        kind, directions: what was chosen.
        errors: root mean square error of environments left out, one per parameter ``(P,)``.
        candidates: the relative error of every candidate ``(kind, k)``, what the choice was made by.
        specs: of the parameters that vary; ``columns`` are their places among all.
        extra: variance added to every estimate, ``(P,)``: see :meth:`calibrated`.

    Raises:
        ShapeError, DataError: values that do not match, are not finite, are too few, or no parameter that varies.
        SettingsError, UnknownNameError: a kind that does not exist or cannot be fitted.
    """

    def __init__(
        self, contexts: Tensor, parameters: Tensor, specs: Sequence[Parameter] = (), kind: str = "auto"
    ) -> None:
        if kind not in KINDS:
            raise UnknownNameError(f"No map is called {kind!r}. {nearest(str(kind), KINDS)}")
        codes, truth = _checked(contexts, parameters)
        every = tuple(specs) or tuple(Parameter(f"p{i}") for i in range(truth.shape[1]))
        if len(every) != truth.shape[1]:
            raise ShapeError(f"{len(every)} parameters are named, but the values have P = {truth.shape[1]} (axis 1).")
        spread = truth.std(0)
        varying = np.flatnonzero(spread > 1e-9 * np.abs(truth).max(0).clip(min=1e-300))
        if not len(varying):
            raise DataError("No parameter varies between these environments, so contexts cannot tell any of them.")
        self.columns = varying.tolist()
        self.specs = tuple(every[i] for i in self.columns)
        self._mean = codes.mean(0)
        _, singular, vectors = np.linalg.svd(codes - self._mean, full_matrices=False)
        rank = int((singular > 1e-9 * singular[0]).sum()) if singular[0] > 0 else 0
        if not rank:
            raise DataError("All contexts are the same: they tell no environments apart. Train the model longer.")
        most = min(rank, len(codes) - 3, MOST)
        self._to = vectors[:most].T / (singular[:most] / np.sqrt(len(codes) - 1))  # (d, k): z = (c - mean) @ to
        self._back = vectors[:most] * (singular[:most] / np.sqrt(len(codes) - 1))[:, None]  # (k, d)
        fitted = _candidates((codes - self._mean) @ self._to, truth[:, varying], kind)
        size = spread[varying]
        self.candidates = {key: float(np.sqrt(((m.left_out / size) ** 2).mean())) for key, m in fitted.items()}
        self.kind, self.directions = min(self.candidates, key=lambda key: self.candidates[key])
        self._map = fitted[self.kind, self.directions]
        self.errors = torch.from_numpy(np.sqrt((self._map.left_out**2).mean(0)))
        self.extra = torch.zeros(len(varying), dtype=torch.float64)

    @classmethod
    def from_adapted(cls, adapted: Adapted, specs: Sequence[Parameter] = (), kind: str = "auto") -> ParameterMap:
        """Fitted on environments whose true parameters are known (``adapted.parameters``).

        Raises:
            DataError: they are not.
        """
        if adapted.parameters is None:
            raise DataError(
                "These environments come without true parameters, so no map to them can be fitted. "
                "leads.trained(model, parameters) takes them."
            )
        return cls(flatten(free_contexts(adapted.model, adapted.contexts)), adapted.parameters, specs, kind)

    def calibrated(self, adapted: Adapted) -> ParameterMap:
        """The same map with error bars as wide as its errors in adapted environments of known parameters.

        Contexts of training are averages over long records; those adapted to one trajectory also carry the model's own
        error there, which neither the map's residuals nor the context's covariance know. The mean by which squared
        errors exceed the variances promised is added to each parameter's variance. Validation trajectories of the seen
        environments, adapted to one by one (:meth:`leads.Trajectories.unlabelled`), serve for it.

        Raises:
            DataError: no true parameters.
        """
        if adapted.parameters is None:
            raise DataError("Error bars are calibrated on environments with true parameters; these carry none.")
        promised = self.predict(adapted)
        error = promised.values - adapted.parameters[:, self.columns].cpu().double()
        twin = copy.copy(self)
        excess = (error.square() - promised.std.square()).mean(0)
        twin.extra = (self.extra + excess).clamp_min(0.0)
        return twin

    def predict(self, adapted: Adapted) -> Estimate:
        """The parameters of adapted environments.

        Error bars include the uncertainty of the contexts where ``adapted.covariance`` is there.
        """
        codes = flatten(free_contexts(adapted.model, adapted.contexts))
        return self(codes, adapted.covariance)

    def __call__(self, contexts: Tensor, covariance: Tensor | None = None) -> Estimate:
        """The same for flattened contexts ``(E, d)`` and their covariance ``(E, d, d)``."""
        z = self._coordinates(contexts)
        mean, variance = self._map.predict(z)
        total = torch.diag_embed(torch.from_numpy(variance) + self.extra)
        if covariance is not None:
            a = self.jacobian(contexts)
            total = total + a @ covariance.detach().cpu().double() @ a.mT
        return Estimate(torch.from_numpy(mean), total, self.specs)

    def jacobian(self, contexts: Tensor) -> Tensor:
        """``dp/dc`` at contexts ``(E, d)``: shape ``(E, P, d)``."""
        k = self.directions
        return torch.from_numpy(self._map.jacobian(self._coordinates(contexts)) @ self._to[:, :k].T)

    def inverse_jacobian(self, contexts: Tensor) -> Tensor:
        """``dc/dp`` at contexts ``(E, d)``: shape ``(E, d, P)``.

        The pseudo-inverse of ``dp/dz``, taken to contexts: among changes that the map cannot tell apart, the smallest
        one in units of the contexts' spread.
        """
        k = self.directions
        inner = np.linalg.pinv(self._map.jacobian(self._coordinates(contexts)))  # (E, k, P)
        return torch.from_numpy(self._back[:k].T @ inner)

    def __repr__(self) -> str:
        missed = ", ".join(f"{p.name} {e:.2g}" for p, e in zip(self.specs, self.errors.tolist(), strict=True))
        return f"ParameterMap({self.kind} in {self.directions} directions; left-out errors: {missed})"

    def _coordinates(self, contexts: Tensor) -> np.ndarray:
        codes = contexts.detach().cpu().double().numpy()
        if codes.ndim != 2 or codes.shape[1] != len(self._mean):
            raise ShapeError(
                f"The map was fitted on contexts of {len(self._mean)} values, (E, {len(self._mean)}); got {codes.shape}."
            )
        return (codes - self._mean) @ self._to[:, : self.directions]


def parameter_map(
    model: DecomposedDynamics,
    fit_on: str | Tensor | Sequence[Sequence[float]] | Adapted = "seen",
    *,
    data: Trajectories | None = None,
    family: EnvironmentFamily | None = None,
    kind: str = "auto",
    trajectories: int = 1,
    seed: int = 0,
    settings: AdaptSettings | None = None,
) -> ParameterMap:
    """Fit a :class:`ParameterMap` for a trained model.

    Args:
        model: trained dynamics.
        fit_on: ``"seen"``: the training environments with the contexts that they were trained with; parameters ``(n, P)``
            of other environments, which are simulated and adapted to; or environments adapted to already.
        data: training data of the seen environments, for their parameters (and, for sources that keep no table, their
            contexts).
        family: whose equations simulate environments; for ``"seen"`` it can stand in for ``data``.
        kind: see :class:`ParameterMap`.
        trajectories, seed: of each simulated environment, and of their initial states, see :func:`simulated`.
        settings: of the adaptation to simulated environments.

    Raises:
        SettingsError, UnknownNameError: neither data nor family, or a ``fit_on`` that does not exist.
    """
    if isinstance(fit_on, Adapted):
        specs = family.system.parameters if family is not None else data.parameter_specs if data is not None else ()
        return ParameterMap.from_adapted(fit_on, specs, kind)
    if isinstance(fit_on, str):
        if fit_on != "seen":
            raise UnknownNameError(
                f"fit_on is 'seen', parameters (n, P) of environments to simulate, or an Adapted; got {fit_on!r}."
            )
        if data is None and family is None:
            raise SettingsError("Give data=data.train or the family: the true parameters of the seen environments.")
        if data is not None:
            return ParameterMap.from_adapted(trained(model, data=data), data.parameter_specs, kind)
        assert family is not None
        return ParameterMap.from_adapted(trained(model, family.seen), family.system.parameters, kind)
    if family is None:
        raise SettingsError("Environments are simulated by the family's equations: give family=leads.make(...).")
    support = simulated(family, torch.as_tensor(fit_on, dtype=torch.float64), trajectories, seed)
    return ParameterMap.from_adapted(adapt(model, support, settings), family.system.parameters, kind)


def simulated(family: EnvironmentFamily, parameters: Tensor, trajectories: int = 1, seed: int = 0) -> Trajectories:
    """Noise-free support of environments ``(n, P)`` of a family, as float32, on its training times.

    Initial states differ between environments, so that what a single start hides from one is not hidden from all; state
    k of environment e is drawn with seed ``seed + e * trajectories + k``.
    """
    n = len(parameters)
    x0 = draw_states(family.system, range(seed, seed + n * trajectories)).unflatten(0, (n, trajectories))
    return simulate(family.system, parameters, x0, family.times, estimate_error=False, dtype=torch.float32)


def _checked(contexts: Tensor, parameters: Tensor) -> tuple[np.ndarray, np.ndarray]:
    if contexts.ndim != 2 or parameters.ndim != 2 or len(contexts) != len(parameters):
        raise ShapeError(
            f"A map needs contexts (n, d) and parameters (n, P) of the same environments, got {tuple(contexts.shape)} "
            f"and {tuple(parameters.shape)}."
        )
    if len(contexts) < 4:
        raise DataError(
            f"A map with error bars needs at least 4 environments, got {len(contexts)}. Simulate more: "
            "parameter_map(model, family.sample(50, 'inside', 0), family=family)."
        )
    codes, truth = (x.detach().cpu().double().numpy() for x in (contexts, parameters))
    if not (np.isfinite(codes).all() and np.isfinite(truth).all()):
        raise DataError("Contexts or parameters contain NaN or infinite values; leave those environments out.")
    return codes, truth


def _candidates(z: np.ndarray, y: np.ndarray, kind: str) -> dict[tuple[str, int], Regression]:
    """Every map of that kind that ``n`` environments allow, by kind and number of directions."""
    n, most = z.shape
    fitted: dict[tuple[str, int], Regression] = {}
    for degree, name in ((1, "linear"), (2, "quadratic")):
        for k in range(1, most + 1):
            if kind in ("auto", name) and Polynomial.terms(k, degree) + 2 <= n:
                fitted[name, k] = Polynomial(z[:, :k], y, degree)
    if kind == "gaussian_process" or (kind == "auto" and GaussianProcess.available()):
        enough = [k for k in range(1, most + 1) if Polynomial.terms(k, 1) + 2 <= n]
        linear = {k: float((Polynomial(z[:, :k], y, 1).left_out ** 2 / y.var(0)).mean()) for k in enough}
        k = min(linear, key=lambda j: linear[j])
        fitted["gaussian_process", k] = GaussianProcess(z[:, :k], y)
    if not fitted:
        raise SettingsError(f"A {kind} map cannot be fitted on {n} environments; simulate more, or choose 'linear'.")
    return fitted
