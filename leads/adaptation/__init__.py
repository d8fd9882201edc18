"""Few-shot adaptation to environments never seen."""

from leads.adaptation.adapt import adapt
from leads.adaptation.adapted import Adapted, trained
from leads.adaptation.drift import DriftMonitor
from leads.adaptation.meaning import Estimate, ParameterMap, parameter_map
from leads.adaptation.online import OnlineAdapter, frame_error
from leads.adaptation.sensitivity import context_sensitivity, parameter_sensitivity
from leads.adaptation.settings import AdaptSettings

__all__ = [
    "AdaptSettings",
    "Adapted",
    "DriftMonitor",
    "Estimate",
    "OnlineAdapter",
    "ParameterMap",
    "adapt",
    "context_sensitivity",
    "frame_error",
    "parameter_map",
    "parameter_sensitivity",
    "trained",
]
