"""Known physics as one half of the field."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from leads.adapters.adapter import Adapter, Context, MakeBackbone, adapters
from leads.adapters.physics import Physics, physics_of
from leads.adapters.taylor import ANCHOR
from leads.errors import SettingsError, ShapeError, UnknownNameError
from leads.registry import nearest
from leads.trajectories import Trajectories

MODES = ("additive", "serial", "residual")


class Hybrid(Adapter):
    """A physical field h and a learned field N of any adapter:

        additive  dx/dt = h(t, x) + N(t, x)
        serial    dx/dt = N(t, h(t, x))
        residual  dx/dt = h(t, x) + N(t, h(t, x))

    The context is the adapter's, with the physical parameters of each environment beside it where the physics has some.

    Penalty: the adapter's, and ``size / multiplier`` times the mean over environments of ``S_e``, the size of the learned
    part ``F`` (N as it is added) on the data's states: ``mean F^2`` over all entries, or ``mean (|F| / |x|)^2`` with norms
    over channels where ``normalised``. The multiplier starts at ``start``; after every step it is multiplied by ``1 + ratio``
    and grows by ``growth`` times the data loss. It is part of the model's state.

    Args:
        physics: h; ``None`` leaves the learned field alone (as a baseline).
        adapter: N; ``None`` leaves the physics alone.
        mode: how they are put together.
        size: coefficient of the penalty on the size of the learned part.
        normalised: see above.
        start, growth, ratio: of the multiplier. The error that the penalty leaves in the fit falls as ``1 / multiplier^2``,
            and growth by the loss alone stalls as soon as the loss is small; a ratio does not.

    Raises:
        SettingsError: neither half, or a size penalty where N is the whole field.
        ShapeError: the states of physics and network differ.

    Source: Yin et al. (2021), APHYNITY (its objective divided by the multiplier); Koupai et al.
    (2024), GEPS, for the modes.
    """

    multiplier: Tensor

    def __init__(
        self,
        physics: Physics | None,
        adapter: Adapter | None,
        mode: Literal["additive", "serial", "residual"] = "additive",
        size: float = 0.0,
        normalised: bool = False,
        start: float = 1.0,
        growth: float = 0.0,
        ratio: float = 0.0,
    ) -> None:
        super().__init__()
        if mode not in MODES:
            raise UnknownNameError(
                f"No way to put physics and network together is named {mode!r}. {nearest(mode, MODES)}"
            )
        if physics is None and adapter is None:
            raise SettingsError("A hybrid needs physics, a learned field, or both.")
        if size and mode == "serial":
            raise SettingsError(
                "In mode='serial' the learned field is the whole field: its size cannot be made small. Use 'additive' or "
                "'residual', or size=0."
            )
        if size < 0 or not start > 0 or growth < 0 or ratio < 0:
            raise SettingsError(
                f"size, growth and ratio need to be >= 0 and start > 0, got {size}, {growth}, {ratio} and {start}."
            )
        if physics is not None and adapter is not None:
            _check_states(physics, adapter)
        self.physics, self.learned = physics, adapter
        if physics is not None and physics.given_names:
            self.known = ("given",)
        bent = physics is not None and bool(physics.own_start or physics.coded_start)
        self.affine = adapter is not None and adapter.affine and not bent
        self.expands = adapter is not None and adapter.expands
        self.mode, self.size, self.normalised, self.growth, self.ratio = mode, size, normalised, growth, ratio
        self.register_buffer("multiplier", torch.tensor(float(start)))

    @property
    def state_shape(self) -> tuple[int, ...] | None:
        if self.physics is not None:
            return self.physics.system.state_shape
        return None if self.learned is None else self.learned.state_shape

    def init_context(self) -> Context:
        context: Context = {} if self.learned is None else self.learned.init_context()
        return context if self.physics is None else {**context, **self.physics.init_context()}

    def given(self, parameters: Tensor | None) -> Context:
        return {} if self.physics is None else self.physics.given(parameters)

    def physical(self, contexts: Context) -> dict[str, Tensor]:
        """The physical parameters by name: shape ``(E,)`` where they differ between environments, ``()`` where not."""
        return {} if self.physics is None else self.physics.physical(contexts)

    def prepare(self, context: Context) -> Any:
        learned = None if self.learned is None else self.learned.prepare(self._learned_part(context))
        # vmap maps over tensors in tuples, not over None.
        return tuple(() if part is None else part for part in (self._values(context), learned))

    def forward(self, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
        return self._compose(t, x, prepared, None if self.learned is None else self.learned.forward)

    def prepare_all(self, contexts: Context) -> Any:
        learned = None if self.learned is None else self.learned.prepare_all(self._learned_part(contexts))
        return self._values(contexts), learned

    def forward_all(self, t: Tensor, x: Tensor, prepared: Any) -> Tensor:
        return self._compose(t, x, prepared, None if self.learned is None else self.learned.forward_all)

    def _values(self, context: Context) -> Tensor | None:
        return None if self.physics is None else self.physics.prepare(context)

    def _learned_part(self, context: Context) -> Context:
        return {k: v for k, v in context.items() if k.removeprefix(ANCHOR) not in ("physics", "given")}

    def _compose(self, t: Tensor, x: Tensor, prepared: Any, network: Any) -> Tensor:
        parameters, learned = prepared
        if self.physics is None:
            return network(t, x, learned)
        h = self.physics(t, x, parameters)
        if network is None:
            return h
        added = network(t, x if self.mode == "additive" else h, learned)
        return added if self.mode == "serial" else h + added

    def learned_size(self, contexts: Context, batch: Trajectories) -> Tensor:
        """``S_e``: size of the learned part on the data's states, shape ``(E,)``."""
        if self.learned is None:
            return batch.states.new_zeros(batch.n_environments)
        states = batch.states
        if batch.mask is not None:
            states = torch.where(batch.mask, states, states.new_zeros(()))
        x = states.flatten(1, 2)
        t = batch.times.to(x).repeat(batch.n_trajectories)[None]
        parameters, learned = self.prepare_all(contexts)
        entering = x
        if self.physics is not None and self.mode != "additive":
            entering = self.physics(t, x, parameters)
        added = self.learned.forward_all(t, entering, learned)
        if not self.normalised:
            return added.square().flatten(1).mean(1)
        # The guard against states of zero norm is that of the additive field's penalty.
        return (added.norm(dim=2) / (x.norm(dim=2) + 1e-5)).square().flatten(1).mean(1)

    def penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        total = super().penalty(contexts, batch)
        if self.learned is not None:
            total = total + self.learned.penalty(self._learned_part(contexts), batch)
        return total + self._size_penalty(contexts, batch).mean() if self.size else total

    def adaptation_penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        total = super().adaptation_penalty(contexts, batch)
        if self.learned is not None:
            total = total + self.learned.adaptation_penalty(self._learned_part(contexts), batch)
        return total + self._size_penalty(contexts, batch) if self.size else total

    def _size_penalty(self, contexts: Context, batch: Trajectories) -> Tensor:
        return self.size / self.multiplier * self.learned_size(contexts, batch)

    @torch.no_grad()
    def after_step(self, data_loss: Tensor) -> None:
        self.multiplier.mul_(1 + self.ratio).add_(self.growth * data_loss.to(self.multiplier))
        if self.learned is not None:
            self.learned.after_step(data_loss)


@adapters.register("hybrid")
def hybrid(
    make_backbone: MakeBackbone,
    physics: Mapping[str, Any] | None = None,
    adapter: str | None = "shared",
    adapter_settings: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Hybrid:
    """:class:`Hybrid` from names and plain values.

    Args:
        make_backbone: makes the network of the learned field.
        physics: of :func:`leads.adapters.physics.physics_of`, e.g. ``{"family": "pendulum", "terms": ["oscillation"],
            "shared": {"omega0": 0.5}}``.
        adapter: a registered adapter, or ``None`` for the physics alone.
        adapter_settings: its arguments.
        settings: of :class:`Hybrid`.
    """
    known = None if physics is None else physics_of(**physics)
    learned = None if adapter is None else adapters[adapter](make_backbone, **(adapter_settings or {}))
    if known is not None and learned is None:
        _check_shapes(known, make_backbone().state_shape)
    return Hybrid(known, learned, **settings)


def _check_states(physics: Physics, adapter: Adapter) -> None:
    if adapter.state_shape is not None:
        _check_shapes(physics, adapter.state_shape)


def _check_shapes(physics: Physics, shape: tuple[int, ...]) -> None:
    if physics.system.state_shape != shape:
        raise ShapeError(
            f"The physics of {type(physics.system).__name__} has states (C, *X) = {physics.system.state_shape}, the data "
            f"and the network {shape}. Choose the family (and its size) that the data come from."
        )
