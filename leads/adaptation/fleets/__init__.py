"""Contexts of very many environments in bounded memory."""

from leads.adaptation.fleets.fleet import FleetResults, adapt_many

__all__ = ["FleetResults", "adapt_many"]
