"""A field seen through its Taylor expansion in the context."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.func import jvp, vmap
from torch.utils._pytree import tree_map

from leads.adapters.adapter import Adapter, Context, MakeBackbone, adapters
from leads.errors import SettingsError
from leads.trajectories import Trajectories

#: Entries of a context that hold the point of expansion start with it; contexts without them are not expanded.
ANCHOR = "anchor/"


@runtime_checkable
class Expandable(Protocol):
    """An adapter that knows its own expansion; others are differentiated by nested forward mode, several times slower."""

    def expand_all(self, t: Tensor, x: Tensor, jet: tuple[Any, ...]) -> Tensor:
        """``f + f' (+ 1/2 f'')`` at states ``x`` ``(E, N, *state)`` along the line on which what is prepared has the value,
        slope (and curvature) ``jet``."""
        ...


class Taylor(Adapter):
    """The field f of any adapter, expanded in the context xi around an anchor xi_j:

        order 1:  f(xi_j) + J delta
        order 2:  f(xi_j) + J delta + 1/2 delta^T H delta,      delta = xi - xi_j

    with J and H the first and second derivative of f in the context at xi_j. A context that brings no anchor is its own,
    and the expansion is then f(xi) itself. Along the line ``xi_j + s delta`` these are derivatives in one number s,
    taken by nested forward mode. Those of what the adapter prepares (its weights) are taken once per rollout; at every
    solver stage only the network is differentiated, along the parabola that has the weights' value, slope and curvature:
    the chain rule to order 2 needs no more of them.

    Penalty: the adapter's, and ``code`` times the mean over environments and entries of ``|xi|``.

    Args:
        adapter: whose field; it must be twice differentiable in the context for order 2.
        order: 1 or 2.
        code: coefficient of the penalty.

    Source: Nzoyem et al. (2025), Neural Context Flows: self-modulation (its nested products give the same polynomial).
    """

    expands = True

    def __init__(self, adapter: Adapter, order: int = 2, code: float = 0.0) -> None:
        super().__init__()
        if order not in (1, 2):
            raise SettingsError(f"The expansion is of order 1 or 2, got order={order}.")
        if code < 0:
            raise SettingsError(f"The penalty on contexts needs code >= 0, got {code}.")
        self.field, self.order, self.code = adapter, order, code
        self.known, self.affine = adapter.known, adapter.affine

    @property
    def state_shape(self) -> tuple[int, ...] | None:
        return self.field.state_shape

    def init_context(self) -> Context:
        return self.field.init_context()

    def given(self, parameters: Tensor | None) -> Context:
        return self.field.given(parameters)

    def prepare(self, context: Context) -> Any:
        own, anchor = _parts(context)
        return (self.field.prepare(own),) if anchor is None else self._jet(self.field.prepare, own, anchor)

    def forward(self, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
        if len(prepared) == 1:
            return self.field.forward(t, x, prepared[0])
        return self._expand(lambda q: self.field.forward(t, x, q), prepared, x)

    def prepare_all(self, contexts: Context) -> Any:
        own, anchor = _parts(contexts)
        if anchor is None:
            return (self.field.prepare_all(own),)
        # The plain batched forms: faster ones use operators without forward derivatives.
        return self._jet(lambda c: Adapter.prepare_all(self.field, c), own, anchor)

    def forward_all(self, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
        if len(prepared) == 1:
            return self.field.forward_all(t, x, prepared[0])
        if isinstance(self.field, Expandable):
            return self.field.expand_all(t, x, prepared)
        if t.ndim and t.shape[0] == x.shape[0] and t.shape[0] > 1:
            one, times = (lambda s, y, q: self.field.forward(s, y, q)), t
            return self._expand(lambda q: vmap(one)(times, x, q), prepared, x)
        shared = t.squeeze(0) if t.ndim else t
        return self._expand(lambda q: vmap(lambda y, r: self.field.forward(shared, y, r))(x, q), prepared, x)

    def _jet(self, prepare: Callable[[Context], Any], own: Context, anchor: Context) -> tuple[Any, ...]:
        """What is prepared at the anchor, and its first ``order`` derivatives along the line to the context."""
        along = lambda s: prepare({**own, **{k: a + s * (own[k] - a) for k, a in anchor.items()}})  # noqa: E731
        zero = next(iter(anchor.values())).new_zeros(())
        return _derivatives(along, zero, self.order)

    def _expand(self, network: Callable[[Any], Tensor], jet: tuple[Any, ...], x: Tensor) -> Tensor:
        def along(s: Tensor) -> Tensor:
            if self.order == 1:
                return network(tree_map(lambda a, b: a + s * b, *jet))
            return network(tree_map(lambda a, b, c: a + s * b + (0.5 * s * s) * c, *jet))

        terms = _derivatives(along, x.new_zeros(()), self.order)
        return terms[0] + terms[1] if self.order == 1 else terms[0] + terms[1] + 0.5 * terms[2]

    def penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        own, _ = _parts(contexts)
        total = self.field.penalty(own, batch)
        if self.code and own:
            total = total + self.code * torch.cat([v.flatten() for v in own.values()]).abs().mean()
        return total

    def adaptation_penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        own, _ = _parts(contexts)
        total = self.field.adaptation_penalty(own, batch)
        if self.code and own:
            total = total + self.code * torch.cat([v.flatten(1) for v in own.values()], 1).abs().mean(1)
        return total

    def after_step(self, data_loss: Tensor) -> None:
        self.field.after_step(data_loss)


@adapters.register("taylor")
def taylor(
    make_backbone: MakeBackbone,
    adapter: str = "linear_hyper",
    adapter_settings: Mapping[str, Any] | None = None,
    order: int = 2,
    code: float = 0.0,
) -> Taylor:
    """:class:`Taylor` around a registered adapter, given by its name and its arguments."""
    return Taylor(adapters[adapter](make_backbone, **(adapter_settings or {})), order, code)


def anchored(contexts: Context, anchors: Context) -> Context:
    """``contexts`` with the points of expansion ``anchors`` (of the same names and shapes) beside them."""
    return {**contexts, **{ANCHOR + name: value for name, value in anchors.items()}}


def _parts(context: Context) -> tuple[Context, Context | None]:
    own = {k: v for k, v in context.items() if not k.startswith(ANCHOR)}
    anchor = {k.removeprefix(ANCHOR): v for k, v in context.items() if k.startswith(ANCHOR)}
    return own, anchor or None


def _derivatives(along: Callable[[Tensor], Any], zero: Tensor, order: int) -> tuple[Any, ...]:
    """``along`` and its first ``order`` derivatives at 0, each like the (nested) value of ``along``."""
    one = torch.ones_like(zero)
    first: Callable[[Tensor], Any] = lambda s: jvp(along, (s,), (one,))  # noqa: E731
    if order == 1:
        return first(zero)
    twice: Any = jvp(first, (zero,), (one,))
    (value, slope), (_, curvature) = twice
    return value, slope, curvature
