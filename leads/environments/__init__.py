"""The physics: systems, and the families of environments on which methods are compared."""

from importlib import import_module
from pkgutil import iter_modules

from leads.environments.family import Box, Budget, EnvironmentFamily, families, list_families, make, register
from leads.environments.grid_system import GridSystem
from leads.environments.system import Channel, Grid, Parameter, System, Term

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Box",
    "Budget",
    "Channel",
    "EnvironmentFamily",
    "Grid",
    "GridSystem",
    "Parameter",
    "System",
    "Term",
    "families",
    "list_families",
    "make",
    "register",
]
