"""Regressions from a few context coordinates to physical parameters, with errors of their own."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from importlib.util import find_spec
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from leads.errors import SettingsError

Array = np.ndarray[Any, np.dtype[np.float64]]


class Regression(ABC):
    """A map fitted on n pairs of coordinates ``(n, k)`` and targets ``(n, P)``.

    Attributes:
        left_out: target minus what the map fitted on the other n - 1 pairs predicts, ``(n, P)``.
    """

    left_out: Array

    @abstractmethod
    def predict(self, z: Array) -> tuple[Array, Array]:
        """Mean and variance of the targets at ``z`` ``(m, k)``, both ``(m, P)``."""

    def jacobian(self, z: Array) -> Array:
        """Derivatives of the mean, ``(m, P, k)``, by central differences (coordinates are of order one)."""
        h = 1e-5
        sides = [
            (self.predict(z + h * unit)[0] - self.predict(z - h * unit)[0]) / (2 * h) for unit in np.eye(z.shape[1])
        ]
        return np.stack(sides, -1)


class Polynomial(Regression):
    """All monomials up to ``degree``, by least squares.

    With the hat matrix H, the error of a pair left out is ``r_i / (1 - H_ii)``; the noise is the mean over pairs of
    ``r_i^2 / (1 - H_ii)``, and a prediction at features f has variance ``noise (1 + f (F'F)^-1 f')``.

    Source: Allen (1974), Technometrics 16 (PRESS); Seber and Lee (2003), Linear Regression Analysis, sections 5.3, 10.4.
    """

    def __init__(self, z: Array, y: Array, degree: int) -> None:
        self.degree = degree
        features = self._features(z)
        inverse = np.linalg.pinv(features)
        self._weights = inverse @ y
        self._gram = inverse @ inverse.T
        leverage = np.clip(np.einsum("nf,fn->n", features, inverse), 0.0, 1 - 1e-12)[:, None]
        residual = y - features @ self._weights
        self.left_out = residual / (1 - leverage)
        self.noise = (residual**2 / (1 - leverage)).mean(0)

    @staticmethod
    def terms(k: int, degree: int) -> int:
        """Number of monomials in ``k`` coordinates up to ``degree``."""
        return sum(1 for q in range(degree + 1) for _ in combinations_with_replacement(range(k), q))

    def predict(self, z: Array) -> tuple[Array, Array]:
        features = self._features(z)
        widened = 1 + np.einsum("nf,fg,ng->n", features, self._gram, features)
        return features @ self._weights, widened[:, None] * self.noise

    def _features(self, z: Array) -> Array:
        k = z.shape[1]
        columns = [
            z[:, list(chosen)].prod(1)
            for q in range(self.degree + 1)
            for chosen in combinations_with_replacement(range(k), q)
        ]
        return np.stack(columns, 1)


class GaussianProcess(Regression):
    """One Gaussian process a target: a linear trend, a smooth deviation from it, and noise, by scikit-learn.

    The kernel is ``a (s + z.z') + b exp(-|z - z'|^2 / 2 l^2) + n``, its five numbers by the largest marginal likelihood.
    A pair left out, hyperparameters kept, is missed by ``[K^-1 y]_i / [K^-1]_ii``.

    Source: Rasmussen and Williams (2006), Gaussian Processes for Machine Learning, eqs. 2.25, 2.26 and 5.12.

    Raises:
        SettingsError: scikit-learn is not installed.
    """

    def __init__(self, z: Array, y: Array) -> None:
        if not self.available():
            raise SettingsError(
                "A Gaussian process needs scikit-learn: pip install 'leads-dynamics[meaning]', or choose kind='linear' "
                "or 'quadratic'."
            )
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel

        self._middle, self._scale = y.mean(0), np.maximum(y.std(0), 1e-300)
        self._processes, missed = [], []
        for column in ((y - self._middle) / self._scale).T:
            kernel = (
                ConstantKernel(1.0, (1e-4, 1e4)) * DotProduct(1.0, (1e-3, 1e3))
                + ConstantKernel(0.1, (1e-8, 1e4)) * RBF(2.0, (0.3, 100.0))
                + WhiteKernel(1e-4, (1e-9, 1.0))
            )
            process = GaussianProcessRegressor(kernel, alpha=1e-10, n_restarts_optimizer=2, random_state=0)
            with warnings.catch_warnings():
                # A hyperparameter at its bound (no deviation, no noise) is an answer, not a failure.
                warnings.simplefilter("ignore")
                process.fit(z, column)
            inverse = np.linalg.inv(process.kernel_(z) + 1e-10 * np.eye(len(z)))
            missed.append(inverse @ column / inverse.diagonal())
            self._processes.append(process)
        self.left_out = np.stack(missed, 1) * self._scale

    @staticmethod
    def available() -> bool:
        """Whether scikit-learn is installed."""
        return find_spec("sklearn") is not None

    def predict(self, z: Array) -> tuple[Array, Array]:
        answers = [process.predict(z, return_std=True) for process in self._processes]
        mean = np.stack([a[0] for a in answers], 1) * self._scale + self._middle
        return mean, (np.stack([a[1] for a in answers], 1) * self._scale) ** 2
