"""Where a context comes from."""

from leads.contexts.encoder import Encoder
from leads.contexts.inner_loop import InnerLoop
from leads.contexts.neighbours import NeighbourTable
from leads.contexts.source import ContextSource, Dynamics, Objective
from leads.contexts.supervised import SupervisedEncoder
from leads.contexts.table import Table

__all__ = [
    "ContextSource",
    "Dynamics",
    "Encoder",
    "InnerLoop",
    "NeighbourTable",
    "Objective",
    "SupervisedEncoder",
    "Table",
]
