"""Where a context comes from."""

from leads.contexts.neighbours import NeighbourTable
from leads.contexts.source import ContextSource
from leads.contexts.table import Table

__all__ = ["ContextSource", "NeighbourTable", "Table"]
