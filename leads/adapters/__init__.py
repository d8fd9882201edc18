"""What a context changes, one adapter a file."""

from importlib import import_module
from pkgutil import iter_modules

from leads.adapters.adapter import Adapter, Context, MakeBackbone, WeightAdapter, adapters

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Adapter", "Context", "MakeBackbone", "WeightAdapter", "adapters"]
