"""Few-shot adaptation to environments never seen."""

from leads.adaptation.adapt import adapt
from leads.adaptation.adapted import Adapted, trained
from leads.adaptation.labelled import forecast_dataset
from leads.adaptation.settings import AdaptSettings

__all__ = ["AdaptSettings", "Adapted", "adapt", "forecast_dataset", "trained"]
