"""Metrics, protocols, tables, figures and the report page."""

from leads.evaluation.labels import adjusted_rand_index
from leads.evaluation.metrics import metrics
from leads.evaluation.probabilistic import (
    coverage,
    coverage_in_time,
    crps_ensemble,
    crps_gaussian,
    interval_score,
    interval_width,
)
from leads.evaluation.protocols import Evaluation, Spread, aggregate, evaluate, spread
from leads.evaluation.reliability import Reliability, reliability
from leads.evaluation.tables import Table

__all__ = [
    "Evaluation",
    "Reliability",
    "Spread",
    "Table",
    "adjusted_rand_index",
    "aggregate",
    "coverage",
    "coverage_in_time",
    "crps_ensemble",
    "crps_gaussian",
    "evaluate",
    "interval_score",
    "interval_width",
    "metrics",
    "reliability",
    "spread",
]
