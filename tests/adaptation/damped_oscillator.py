"""A model whose context is known to be right: a damped oscillator with exact solutions."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import leads
from leads.adapters import Adapter, Context
from leads.contexts import Table
from leads.dynamics import DecomposedDynamics

#: Contexts (stiffness, damping) of the seen environments.
SEEN = torch.tensor([[1.0, 0.1], [1.5, 0.2], [2.0, 0.1], [2.5, 0.3], [1.2, 0.3]], dtype=torch.float64)
TIMES = torch.linspace(0, 4, 21, dtype=torch.float64)


class Oscillator(Adapter):
    """x' = v, v' = -k x - d v with the context (k, d)."""

    def __init__(self) -> None:
        super().__init__()
        self.unit = torch.nn.Parameter(torch.ones((), dtype=torch.float64))

    def init_context(self) -> Context:
        return {"code": torch.tensor([1.5, 0.2], dtype=torch.float64)}

    def prepare(self, context: Context) -> Tensor:
        return context["code"]

    def forward(self, t: Tensor, x: Tensor, prepared: Tensor) -> Tensor:
        return torch.stack([x[..., 1], -prepared[0] * x[..., 0] - prepared[1] * x[..., 1]], -1) * self.unit


def exact(context: np.ndarray, x0: np.ndarray, times: np.ndarray) -> np.ndarray:
    """States ``(T, 2)`` in closed form (damping below critical)."""
    (k, d), (x, v) = context, x0
    w = np.sqrt(k - d * d / 4)
    a, b = x, (v + d * x / 2) / w
    decay, c, s = np.exp(-d * times / 2), np.cos(w * times), np.sin(w * times)
    position = decay * (a * c + b * s)
    velocity = decay * ((-d / 2) * (a * c + b * s) + w * (-a * s + b * c))
    return np.stack([position, velocity], -1)


def oscillator(substeps: int = 2) -> DecomposedDynamics:
    """The true field, with a table of seen contexts."""
    adapter = Oscillator()
    source = Table(adapter, len(SEEN))
    with torch.no_grad():
        source.values["code"].copy_(SEEN)
    return DecomposedDynamics(adapter, source.double(), substeps=substeps)


def observe(contexts: Tensor, x0: Tensor, noise: float = 0.0, seed: int = 0) -> leads.Trajectories:
    """Noisy exact solutions ``(E, N, T, 2)`` for contexts ``(E, 2)`` and first states ``(E, N, 2)``."""
    states = [[exact(c.numpy(), x.numpy(), TIMES.numpy()) for x in row] for c, row in zip(contexts, x0, strict=True)]
    clean = torch.from_numpy(np.array(states))
    scatter = noise * torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed), dtype=clean.dtype)
    return leads.Trajectories(clean + scatter, TIMES)
