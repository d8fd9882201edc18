"""Readers and writers of other projects' files, one layout a file."""

from importlib import import_module
from pkgutil import iter_modules

from leads.trajectories.formats.format import Format, Source, formats
from leads.trajectories.formats.reading import guess, read
from leads.trajectories.formats.writing import write

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Format", "Source", "formats", "guess", "read", "write"]
