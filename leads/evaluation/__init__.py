"""Metrics, protocols, tables, figures and the report page."""

from leads.evaluation.labels import adjusted_rand_index
from leads.evaluation.metrics import metrics
from leads.evaluation.protocols import Evaluation, Spread, aggregate, evaluate, spread
from leads.evaluation.tables import Table

__all__ = ["Evaluation", "Spread", "Table", "adjusted_rand_index", "aggregate", "evaluate", "metrics", "spread"]
