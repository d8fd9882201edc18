"""Networks ``(t, x) -> dx/dt`` that know nothing of environments."""

from importlib import import_module
from pkgutil import iter_modules

from leads.backbones.backbone import Backbone, Swish, Weights, backbones

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Backbone", "Swish", "Weights", "backbones"]
