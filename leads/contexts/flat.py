"""Contexts as one vector per environment."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from leads.adapters import Context


def size(contexts: Context) -> int:
    """Values in one environment's context."""
    return sum(math.prod(v.shape[1:]) for v in contexts.values())


def flatten(contexts: Context) -> Tensor:
    """Stacked contexts as ``(E, d)``."""
    return torch.cat([v.flatten(1) for v in contexts.values()], 1)


def unflatten(flat: Tensor, like: Context) -> Context:
    """The inverse of :func:`flatten`, in the dtype of ``flat``; any number of environments."""
    parts = flat.split([math.prod(v.shape[1:]) for v in like.values()], 1)
    return {k: p.reshape(-1, *v.shape[1:]) for (k, v), p in zip(like.items(), parts, strict=True)}
