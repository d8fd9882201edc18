"""Where a context comes from."""

from leads.contexts.encoder import Encoder
from leads.contexts.hidden_labels import HiddenLabels
from leads.contexts.inner_loop import InnerLoop
from leads.contexts.moving_average import MovingAverage
from leads.contexts.neighbours import NeighbourTable
from leads.contexts.ridge import Ridge
from leads.contexts.source import ContextSource, Dynamics, Objective
from leads.contexts.supervised import SupervisedEncoder
from leads.contexts.table import Table

__all__ = [
    "ContextSource",
    "Dynamics",
    "Encoder",
    "HiddenLabels",
    "InnerLoop",
    "MovingAverage",
    "NeighbourTable",
    "Objective",
    "Ridge",
    "SupervisedEncoder",
    "Table",
]
