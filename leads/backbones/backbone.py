"""What a backbone is: a network ``(t, x) -> dx/dt`` that knows nothing of environments."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from leads.registry import Registry

Weights = Mapping[str, Tensor]

backbones: Registry[Callable[..., Backbone]] = Registry("backbone")


class Backbone(nn.Module):
    """Base of all networks that serve as vector fields.

    A backbone is written for one environment: :meth:`forward` with its own parameters. Parameters have their output
    channels on the first axis and, where they are matrices or kernels, their input channels on the second; there are
    no buffers and no in-place writes, so that adapters can replace every parameter and ``vmap`` can batch over
    environments. A backbone may bring a faster batched form by overriding :meth:`ready` and :meth:`batched`;
    ``leads.testing.check_backbone`` holds the two equal.
    """

    def __new__(cls, *args: Any, **settings: Any) -> Self:
        """Remember the arguments, so that :meth:`widened` serves every backbone without its help."""
        self = super().__new__(cls)
        self.__dict__["_made_with"] = (args, settings)
        return self

    def __init__(self, state_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.state_shape = tuple(state_shape)

    def widened(self, extra: int) -> Self:
        """A freshly drawn backbone of the same kind and settings for ``extra`` more channels, in and out."""
        args, settings = self.__dict__["_made_with"]
        shape = (self.state_shape[0] + extra, *self.state_shape[1:])
        return type(self)(shape, *args[1:], **{k: v for k, v in settings.items() if k != "state_shape"})

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """``dx/dt`` of one environment: ``x`` of shape ``(N, C, *X)``, ``t`` of shape ``()``."""
        raise NotImplementedError

    def ready(self, weights: Weights) -> Any:
        """Work on stacked weights ``(E, ...)`` that is done once per rollout; what :meth:`batched` takes."""
        return dict(weights)

    def batched(self, ready: Any, t: Tensor, x: Tensor) -> Tensor:
        """``dx/dt`` of many environments, each with its own weights: ``x`` of shape ``(E, N, C, *X)``."""
        time_axis = 0 if t.ndim and t.shape[0] == x.shape[0] and t.shape[0] > 1 else None
        one = lambda w, s, y: functional_call(self, w, (s.squeeze(0) if s.ndim else s, y))  # noqa: E731
        return vmap(one, in_dims=(0, time_axis, 0))(ready, t, x)

    def passes(self, ready: Any) -> Any:
        """A written-out way back for :func:`leads.integrators.integrate_written`, or ``None`` where there is none."""
        del ready
        return None

    def layers(self) -> list[str]:
        """Prefixes of the parameters of each layer, input to output: what "first" and "last" layer mean."""
        seen: dict[str, None] = {}
        for name, _ in self.named_parameters():
            seen.setdefault(name.rsplit(".", 1)[0] if "." in name else name)
        return list(seen)

    def norm_layers(self) -> list[str]:
        """Prefixes of the layers that normalise their input and then apply parameters ``gain`` and ``shift`` to it."""
        return []

    def complex_weights(self) -> list[str]:
        """Names of the weights whose last axis holds real and imaginary parts: complex matrices, one a position."""
        return []

    def own_weights(self) -> dict[str, Tensor]:
        """The backbone's parameters by name."""
        return dict(self.named_parameters())


class Swish(nn.Module):
    """``x sigmoid(x softplus(slope)) / 1.1`` with a learned slope, as in LEADS, CoDA and GEPS.

    Written with products rather than ``silu`` so that second and forward derivatives exist.
    """

    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.5]))

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(x * nn.functional.softplus(self.slope)) / 1.1

    def jet(self, x: Tensor, slope: Tensor, curvature: Tensor | None = None) -> tuple[Tensor, ...]:
        """Value, slope and, where one is given, curvature after the activation of what has these before it."""
        s = nn.functional.softplus(self.slope)
        z = s * x
        gate = torch.sigmoid(z)
        silu = z * gate
        first = (gate + silu * (1 - gate)) / 1.1
        value = silu / (1.1 * s)
        if curvature is None:
            return value, first * slope
        second = (s / 1.1) * (gate * (1 - gate)) * (2 + z - 2 * silu)
        return value, first * slope, second * slope.square() + first * curvature


def fold_swish(weights: list[Tensor], biases: list[Tensor], slopes: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Absorb every swish into the layers around it, leaving plain ``silu``.

    With s = softplus(slope), ``x sigmoid(s x) / 1.1 = silu(s x) / (1.1 s)``: the layer before is multiplied by s and
    the layer after divided by 1.1 s, once per rollout, which saves three point-wise passes at every evaluation.

    Args:
        weights: stacked weights ``(E, out, in, ...)`` of each layer.
        biases: stacked biases ``(E, out)``.
        slopes: stacked slopes ``(E, 1)``, one fewer than layers.
    """
    scales = [nn.functional.softplus(s) for s in slopes]
    new_weights, new_biases = [], []
    for i, (w, b) in enumerate(zip(weights, biases, strict=True)):
        before = scales[i - 1].mul(1.1).reciprocal() if i > 0 else None
        after = scales[i] if i < len(scales) else None
        factor = before if after is None else after if before is None else after * before
        if factor is not None:
            w = w * factor.reshape(-1, *(1,) * (w.ndim - 1))
        if after is not None:
            b = b * after
        new_weights.append(w)
        new_biases.append(b)
    return new_weights, new_biases
