"""The ocean community's scores: maps, along-track data, spectra, forecasts against lead time, drifters."""

from leads.ocean.scores.alongtrack import (
    DailyScore,
    TrackSpectralScore,
    daily_score,
    first_crossing,
    track_segments,
    track_spectral_score,
)
from leads.ocean.scores.currents import periodic_currents
from leads.ocean.scores.drifters import DrifterScores, advect, drifter_scores, skill_score
from leads.ocean.scores.energy import Spectrum, isotropic_spectrum, kinetic_energy_spectrum, zonal_spectrum
from leads.ocean.scores.forecast import LeadScores, lead_coverage, lead_scores
from leads.ocean.scores.mapping import MappingScore, mapping_score
from leads.ocean.scores.space_time import SpaceTimeSpectrum, SpectralScore, space_time_spectrum, spectral_score
from leads.ocean.scores.waters import Box, Sphere, Waters

__all__ = [
    "Box",
    "DailyScore",
    "DrifterScores",
    "LeadScores",
    "MappingScore",
    "SpaceTimeSpectrum",
    "SpectralScore",
    "Spectrum",
    "Sphere",
    "TrackSpectralScore",
    "Waters",
    "advect",
    "daily_score",
    "drifter_scores",
    "first_crossing",
    "isotropic_spectrum",
    "kinetic_energy_spectrum",
    "lead_coverage",
    "lead_scores",
    "mapping_score",
    "periodic_currents",
    "skill_score",
    "space_time_spectrum",
    "spectral_score",
    "track_segments",
    "track_spectral_score",
    "zonal_spectrum",
]
