"""Few-shot adaptation to environments never seen."""

from leads.adaptation.adapt import adapt
from leads.adaptation.adapted import Adapted, trained
from leads.adaptation.fleet import FleetResults, adapt_many
from leads.adaptation.settings import AdaptSettings

__all__ = ["AdaptSettings", "Adapted", "FleetResults", "adapt", "adapt_many", "trained"]
