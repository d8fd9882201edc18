"""Operators one after the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from leads.errors import SettingsError
from leads.observation.operator import HasLayout, Layout, Operator, from_description, operators


@operators.register("compose")
@dataclass(frozen=True, eq=False)
class Compose(Operator):
    """``y = H_n ... H_2 H_1 x``: what ``H_1 | H_2 | ... | H_n`` gives.

    Args:
        parts: in the order in which they are applied; compositions among them are taken apart.

    Raises:
        SettingsError: nothing to compose, or something that is no operator.
    """

    kind = "compose"
    parts: tuple[Operator, ...] = ()

    def __post_init__(self) -> None:
        if not self.parts:
            raise SettingsError("Compose needs at least one observation operator.")
        flat: list[Operator] = []
        for part in self.parts:
            if not isinstance(part, Operator):
                raise SettingsError(f"Only observation operators can be composed, got {type(part).__name__}.")
            flat += part.parts if isinstance(part, Compose) else (part,)
        object.__setattr__(self, "parts", tuple(flat))

    def bind(self, like: HasLayout | Layout) -> Self:
        layout = first = Layout.of(like)
        parts = []
        for part in self.parts:
            parts.append(part.bind(layout))
            layout = parts[-1].output
        return replace(self, parts=tuple(parts), layout=first)

    @property
    def moves(self) -> bool:  # type: ignore[override]
        return any(part.moves for part in self.parts)

    @property
    def output(self) -> Layout:
        return self.parts[-1].output if self.layout is not None else self.bound

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        for part in self.parts:
            x = part.forward(x, t)
        return x

    def seen(self, mask: Tensor, t: Tensor | None = None) -> Tensor:
        for part in self.parts:
            mask = part.seen(mask, t)
        return mask

    def observe(self, x: Tensor, mask: Tensor, t: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        for part in self.parts:
            x, mask = part.observe(x, mask, t, generator)
        return x, mask

    def variance(self, variance: Tensor) -> Tensor:
        for part in self.parts:
            variance = part.variance(variance)
        return variance

    def gridded(self, y: Tensor, seen: Tensor, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        for part in reversed(self.parts):
            y, seen = part.gridded(y, seen, t)
        return y, seen

    def back(self, y: Tensor, seen: Tensor, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        for part in reversed(self.parts):
            y, seen = part.back(y, seen, t)
        return y, seen

    def rows(self, environments: Sequence[int]) -> Operator:
        return replace(self, parts=tuple(part.rows(environments) for part in self.parts))

    def describe(self) -> dict[str, Any]:
        layout = None if self.layout is None else self.layout.describe()
        return {"kind": self.kind, "layout": layout, "parts": [{**p.describe(), "layout": None} for p in self.parts]}

    @classmethod
    def decode(cls, value: Any) -> Any:
        if not isinstance(value, list) or not all(isinstance(v, Mapping) for v in value):
            raise SettingsError(f"A composition is described by a list of operators, got {value!r}.")
        return tuple(from_description(v) for v in value)
