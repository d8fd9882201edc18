"""Nested lists of JSON as tensors, and back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leads.errors import DataError, ShapeError
from leads.serving.limits import TooLargeError


def tensor(name: str, value: Any, ndim: int, most: int, missing: bool = False) -> Tensor:
    """A float64 tensor from nested lists of numbers.

    Args:
        name: what is read, for messages.
        value: as JSON gives it.
        ndim: how many axes it must have.
        most: numbers that it may hold.
        missing: whether ``null`` may stand for a value that was not observed; it becomes NaN.

    Raises:
        ShapeError: another number of axes, or lists of unequal lengths.
        DataError: what is no number, or not a finite one.
        TooLargeError: too many numbers.
    """
    shape = _shape(name, value, ndim)
    if math.prod(shape) > most:
        raise TooLargeError(f"{name} has {math.prod(shape)} numbers, at most {most} are taken.")
    flat: list[Any] = [value]
    for length in shape:
        if any(not isinstance(item, list) or len(item) != length for item in flat):
            raise ShapeError(f"{name}: lists at one depth must have the same length.")
        flat = [x for item in flat for x in item]
    for x in flat:
        if x is None and missing:
            continue
        if isinstance(x, bool) or not isinstance(x, int | float) or not _finite(x):
            what = "numbers, or null where nothing was observed" if missing else "numbers"
            raise DataError(f"{name} must hold finite {what}; got {str(x)[:40]!r}.")
    numbers = [math.nan if x is None else float(x) for x in flat]
    return torch.tensor(numbers, dtype=torch.float64).reshape(shape)


def nested(values: Tensor) -> list[Any]:
    """Nested lists, ``None`` where a value is not finite."""
    array = values.detach().cpu().numpy()
    if np.isfinite(array).all():
        return array.tolist()
    holes = array.astype(object)
    holes[~np.isfinite(array)] = None
    return holes.tolist()


def _shape(name: str, value: Any, ndim: int) -> tuple[int, ...]:
    shape: list[int] = []
    while isinstance(value, list) and len(shape) <= ndim:
        if not value:
            raise ShapeError(f"{name} holds an empty list.")
        shape.append(len(value))
        value = value[0]
    if len(shape) != ndim:
        found = f"more than {ndim}" if len(shape) > ndim else str(len(shape))
        raise ShapeError(f"{name} must be lists nested {ndim} deep, got {found}.")
    return tuple(shape)


def _finite(x: float) -> bool:
    try:
        return math.isfinite(float(x))
    except OverflowError:  # an integer beyond the floating-point numbers
        return False
