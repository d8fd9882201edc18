"""Few-shot adaptation to environments never seen: contexts, their uncertainty, their meaning, their limits."""

from leads.adaptation.adapt import adapt
from leads.adaptation.adapted import Adapted, trained
from leads.adaptation.calibrate import calibrate
from leads.adaptation.calibration import Calibration
from leads.adaptation.drift import DriftMonitor
from leads.adaptation.ensembles import AdaptedEnsemble, Ensemble
from leads.adaptation.fleets import FleetResults, adapt_many
from leads.adaptation.held_out import held_out_environments
from leads.adaptation.labelled import forecast_dataset
from leads.adaptation.limits import Check
from leads.adaptation.meaning import Estimate, ParameterMap, parameter_map
from leads.adaptation.next_observation import NextObservations, next_observation
from leads.adaptation.online import OnlineAdapter, frame_error
from leads.adaptation.posterior import Bands
from leads.adaptation.sensitivity import context_sensitivity, parameter_sensitivity
from leads.adaptation.settings import AdaptSettings

__all__ = [
    "AdaptSettings",
    "Adapted",
    "AdaptedEnsemble",
    "Bands",
    "Calibration",
    "Check",
    "DriftMonitor",
    "Ensemble",
    "Estimate",
    "FleetResults",
    "NextObservations",
    "OnlineAdapter",
    "ParameterMap",
    "adapt",
    "adapt_many",
    "calibrate",
    "context_sensitivity",
    "forecast_dataset",
    "frame_error",
    "held_out_environments",
    "next_observation",
    "parameter_map",
    "parameter_sensitivity",
    "trained",
]
