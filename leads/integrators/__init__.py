"""Advancing any field in time."""

from leads.integrators.adaptive import integrate_adaptive
from leads.integrators.adjoint import integrate_adjoint
from leads.integrators.each import check_finite, integrate_each, interpolate_each
from leads.integrators.exponential import integrate_exponential
from leads.integrators.exponential_tableaus import exponential_methods
from leads.integrators.fixed import Field, check_times, integrate
from leads.integrators.history import integrate_history
from leads.integrators.tableaus import Tableau, methods, tableau
from leads.integrators.written import Passes, gradients_once, integrate_written, refuse_second, taken_once

__all__ = [
    "Field",
    "Passes",
    "Tableau",
    "check_finite",
    "check_times",
    "exponential_methods",
    "gradients_once",
    "integrate",
    "integrate_adaptive",
    "integrate_adjoint",
    "integrate_each",
    "integrate_exponential",
    "integrate_history",
    "integrate_written",
    "interpolate_each",
    "methods",
    "refuse_second",
    "tableau",
    "taken_once",
]
