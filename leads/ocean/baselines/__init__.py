"""Forecasts to beat: means, persistence, interpolation and quasi-geostrophic propagation, all called alike."""

from leads.ocean.baselines.baseline import Baseline, last_known
from leads.ocean.baselines.filling import grown
from leads.ocean.baselines.gaps import LinearInterpolation, OptimalInterpolation
from leads.ocean.baselines.optimal import Analysis, Covariance, Window, optimal_interpolation
from leads.ocean.baselines.persistence import Climatology, DampedPersistence, Persistence, mean_state
from leads.ocean.baselines.propagation import PeriodicPropagation, WindowPropagation, window_geometry

__all__ = [
    "Analysis",
    "Baseline",
    "Climatology",
    "Covariance",
    "DampedPersistence",
    "LinearInterpolation",
    "OptimalInterpolation",
    "PeriodicPropagation",
    "Persistence",
    "Window",
    "WindowPropagation",
    "grown",
    "last_known",
    "mean_state",
    "optimal_interpolation",
    "window_geometry",
]
