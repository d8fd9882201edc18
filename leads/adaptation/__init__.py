"""Few-shot adaptation to environments never seen, with its uncertainty."""

from leads.adaptation.adapt import adapt
from leads.adaptation.adapted import Adapted, trained
from leads.adaptation.calibrate import calibrate
from leads.adaptation.calibration import Calibration
from leads.adaptation.ensembles import AdaptedEnsemble, Ensemble
from leads.adaptation.fleet import FleetResults, adapt_many
from leads.adaptation.held_out import held_out_environments
from leads.adaptation.labelled import forecast_dataset
from leads.adaptation.limits import Check
from leads.adaptation.next_observation import NextObservations, next_observation
from leads.adaptation.posterior import Bands
from leads.adaptation.settings import AdaptSettings

__all__ = [
    "AdaptSettings",
    "Adapted",
    "AdaptedEnsemble",
    "Bands",
    "Calibration",
    "Check",
    "Ensemble",
    "FleetResults",
    "NextObservations",
    "adapt",
    "adapt_many",
    "calibrate",
    "forecast_dataset",
    "held_out_environments",
    "next_observation",
    "trained",
]
