"""Where a context comes from."""

from leads.contexts.hidden_labels import HiddenLabels
from leads.contexts.inner_loop import InnerLoop
from leads.contexts.moving_average import MovingAverage
from leads.contexts.neighbours import NeighbourTable
from leads.contexts.ridge import Ridge
from leads.contexts.source import ContextSource, Dynamics
from leads.contexts.table import Table

__all__ = [
    "ContextSource",
    "Dynamics",
    "HiddenLabels",
    "InnerLoop",
    "MovingAverage",
    "NeighbourTable",
    "Ridge",
    "Table",
]
