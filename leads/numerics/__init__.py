"""Differencing, Fourier series and random fields: mathematics that knows no system."""

from leads.numerics.flow import (
    advection,
    streamfunction_from_vorticity,
    velocity_from_streamfunction,
    velocity_from_vorticity,
    vorticity_from_velocity,
)
from leads.numerics.random_fields import mode_variance, random_field
from leads.numerics.spectral import SpectralGrid

__all__ = [
    "SpectralGrid",
    "advection",
    "mode_variance",
    "random_field",
    "streamfunction_from_vorticity",
    "velocity_from_streamfunction",
    "velocity_from_vorticity",
    "vorticity_from_velocity",
]
