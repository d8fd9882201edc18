"""Runs that are killed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import leads


class KilledError(Exception):
    pass


class Killer:
    """A logger that ends a run at a validation."""

    def __init__(self, step: int) -> None:
        self.step = step

    def record(self, row: dict[str, Any]) -> None:
        if row["step"] == self.step:
            raise KilledError

    def close(self, summary: dict[str, Any]) -> None: ...


@pytest.fixture
def fit_killed_at() -> Callable[..., None]:
    """``fit_killed_at(step, *arguments of leads.fit)``: a training that does not live to see its end."""

    def fit(step: int, *args: Any, **settings: Any) -> None:
        with pytest.raises(KilledError):
            leads.fit(*args, loggers=[Killer(step)], **settings)

    return fit
