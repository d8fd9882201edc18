"""How much work a piece of code does: operations by kind, bytes moved, operators launched."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from ceilings import Ceilings  # type: ignore[import-not-found]
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

#: Operators that only describe memory anew.
VIEWS = {
    "view", "_unsafe_view", "reshape", "expand", "t", "transpose", "permute", "select", "slice", "unsqueeze", "squeeze",
    "detach", "alias", "as_strided", "split", "unbind", "view_as_real", "_reshape_alias", "unfold",
}  # fmt: skip


@dataclass(frozen=True)
class Work:
    """Work of one call.

    Attributes:
        products: floating-point operations of matrix products.
        convolutions: of convolutions.
        points: points of Fourier transforms.
        bytes: read and written by all operators that touch memory, each counted by itself: what a run without fusion moves.
        operators: how many were launched, without views.
    """

    products: float
    convolutions: float
    points: float
    bytes: float
    operators: int

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def limits(self, c: Ceilings) -> dict[str, float]:
        """Seconds that arithmetic alone, memory alone and launching alone would take at the machine's ceilings."""
        arithmetic = self.products / c.product + self.convolutions / c.convolution + self.points / c.transform
        return {"arithmetic": arithmetic, "memory": self.bytes / c.copy, "launch": self.operators * c.launch}


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.operators, self.bytes, self.points = 0, 0, 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        if name in VIEWS:
            return out
        self.operators += 1
        tensors = [a for a in torch.utils._pytree.tree_leaves((args, kwargs, out)) if isinstance(a, torch.Tensor)]
        self.bytes += sum(a.numel() * a.element_size() for a in tensors)
        if name.startswith("_fft"):
            self.points += max(a.numel() * (2 if a.is_complex() else 1) for a in tensors) / 1.0
        return out


def count(function: Callable[[], Any]) -> Work:
    """Count one call of ``function``, its ways back included where it takes them."""
    flops = FlopCounterMode(display=False)
    counter = _Counter()
    with flops, counter:
        function()
    kinds = flops.get_flop_counts().get("Global", {})
    convolutions = sum(v for k, v in kinds.items() if "conv" in str(k))
    products = math.fsum(v for k, v in kinds.items() if "conv" not in str(k))
    return Work(float(products), float(convolutions), counter.points, float(counter.bytes), counter.operators)
