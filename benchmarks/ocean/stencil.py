"""Linear forecasts from the cells around a cell: one for all windows, one a window, or shared plus a residual."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

#: Ridges tried on validation days, in units of the mean squared feature.
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


@dataclass(frozen=True)
class Days:
    """Anomalies of E windows ``(E, T, y, x)``, zero on land, and the sea ``(E, y, x)``.

    Attributes:
        frames: days that a forecast sees, the present one and those before it.
        reach: cells to each side.
    """

    values: np.ndarray
    sea: np.ndarray
    frames: int = 1
    reach: int = 2

    def features(self, e: int, days: Sequence[int]) -> np.ndarray:
        """``(days x cells, features)``: for each day the cells around each cell of sea, zero beyond the edges."""
        r = self.reach
        pad = np.pad(self.values[e], ((0, 0), (r, r), (r, r)))
        y, x = self.sea.shape[1:]
        parts = [
            pad[[d - k for d in days], i : i + y, j : j + x][:, self.sea[e]]
            for k in range(self.frames)
            for i in range(2 * r + 1)
            for j in range(2 * r + 1)
        ]
        return np.stack(parts, -1).reshape(-1, len(parts))

    def change(self, e: int, days: Sequence[int], lag: int) -> np.ndarray:
        """What the cells of sea change by within ``lag`` days, ``(days x cells,)``."""
        a = self.values[e]
        return np.stack([a[d + lag] - a[d] for d in days])[:, self.sea[e]].ravel()


@dataclass(frozen=True)
class Normal:
    """``X^T X``, ``X^T y`` of each window."""

    gram: np.ndarray
    right: np.ndarray

    @classmethod
    def of(cls, data: Days, days: Sequence[int], lag: int, windows: Sequence[int]) -> Normal:
        pairs = [(data.features(e, days), data.change(e, days, lag)) for e in windows]
        return cls(np.stack([x.T @ x for x, _ in pairs]), np.stack([x.T @ y for x, y in pairs]))

    def pooled(self, ridge: float) -> np.ndarray:
        """One set of weights, ``(features,)``."""
        return _solve(self.gram.sum(0), self.right.sum(0), ridge)

    def own(self, ridge: float, around: np.ndarray | float = 0.0) -> np.ndarray:
        """Weights of every window, ``(E, features)``, shrunk to ``around``: zero, or those that all share."""
        shared = np.zeros(self.gram.shape[-1]) + around
        return np.stack([shared + _solve(g, b - g @ shared, ridge) for g, b in zip(self.gram, self.right, strict=True)])


def _solve(gram: np.ndarray, right: np.ndarray, ridge: float) -> np.ndarray:
    n = len(right)
    return np.linalg.solve(gram + ridge * np.trace(gram) / n * np.eye(n), right)


def squares(data: Days, weights: np.ndarray, windows: Sequence[int], days: Sequence[int], lag: int) -> list[np.ndarray]:
    """Squared errors of each window; ``weights`` are ``(features,)`` or ``(E, features)``."""
    rows = np.broadcast_to(weights, (len(windows), weights.shape[-1]))
    return [(data.change(e, days, lag) - data.features(e, days) @ w) ** 2 for e, w in zip(windows, rows, strict=True)]


def rms(parts: Sequence[np.ndarray]) -> float:
    return float(np.sqrt(np.concatenate(parts).mean()))


def chosen(
    data: Days, lag: int, teach: Sequence[int], learn: Sequence[int], until: int, check: Sequence[int]
) -> dict[str, float]:
    """Ridges that do best on validation days: of the pooled weights, of a window's own, and of its residual.

    Args:
        teach: windows from which the shared weights come. learn: windows that are forecast (the same, or new ones).
        until: last training day. check: days from which validation forecasts start; they end after ``until``.
    """
    days = range(data.frames - 1, until + 1 - lag)
    shared, own = (Normal.of(data, days, lag, w) for w in (teach, learn))
    score = lambda w: rms(squares(data, w, learn, check, lag))
    pool = min(RIDGES, key=lambda k: score(shared.pooled(k)))
    return {
        "pooled": pool,
        "per window": min(RIDGES, key=lambda k: score(own.own(k))),
        "shared + residual": min(RIDGES, key=lambda k: score(own.own(k, shared.pooled(pool)))),
    }


def forecasts(
    data: Days, lag: int, teach: Sequence[int], learn: Sequence[int], train: int, valid: int, test: Sequence[int]
) -> tuple[dict[str, list[np.ndarray]], dict[str, float]]:
    """Squared errors of the three forms on test days, with ridges chosen on the last ``valid`` of ``train`` days, and
    these ridges."""
    until = train - valid - 1
    check = range(max(data.frames - 1, until + 1 - lag), train - lag)
    ridge = chosen(data, lag, teach, learn, until, check)
    days = range(data.frames - 1, train - lag)
    shared, own = (Normal.of(data, days, lag, w) for w in (teach, learn))
    pooled = shared.pooled(ridge["pooled"])
    weights = {
        "pooled": pooled,
        "per window": own.own(ridge["per window"]),
        "shared + residual": own.own(ridge["shared + residual"], pooled),
    }
    return {k: squares(data, w, learn, test, lag) for k, w in weights.items()}, ridge
