"""Published methods: each a short file that names its adapter and its context source."""

from importlib import import_module
from pkgutil import iter_modules

from leads.algorithms.build import Algorithm, algorithms, build, from_recipe, register

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Algorithm", "algorithms", "build", "from_recipe", "register"]
