"""Where a context comes from."""

from leads.contexts.inner_loop import InnerLoop
from leads.contexts.neighbours import NeighbourTable
from leads.contexts.source import ContextSource, Dynamics
from leads.contexts.table import Table

__all__ = ["ContextSource", "Dynamics", "InnerLoop", "NeighbourTable", "Table"]
