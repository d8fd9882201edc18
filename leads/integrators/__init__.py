"""Advancing any field in time."""

from leads.integrators.adaptive import integrate_adaptive
from leads.integrators.fixed import Field, check_times, integrate
from leads.integrators.tableaus import Tableau, methods, tableau

__all__ = ["Field", "Tableau", "check_times", "integrate", "integrate_adaptive", "methods", "tableau"]
