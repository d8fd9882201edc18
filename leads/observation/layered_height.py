"""Sea-surface height of a two-layer flow that is kept as potential vorticity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from leads.environments import Channel
from leads.errors import SettingsError
from leads.numerics import SpectralGrid
from leads.observation.operator import Layout, Operator, operators

GRAVITY = 9.81


@operators.register("layered_height")
@dataclass(frozen=True, eq=False)
class LayeredHeight(Operator):
    """``h = f0 psi1 / g`` in m, with the streamfunctions of two layers from their potential vorticity (q1, q2):

        q1 = lap psi1 + F1 (psi2 - psi1),   q2 = lap psi2 + F2 (psi1 - psi2)
        F1 = rd^-2 / (1 + delta),           F2 = delta F1

    on a doubly periodic box, by Fourier series; means of q are passed over, h has none. The same relation as that of
    the family ``two_layer_qg``.

    Args:
        rd: deformation radius in m; one number, or one for each environment (then states are ``(E, N, T, 2, Y, X)``).
        delta: depth of the upper layer over that of the lower one, likewise.
        f0: Coriolis parameter in 1/s.

    Raises:
        SettingsError: values that are not positive; when bound, states other than two channels on a periodic plane.
    """

    kind = "layered_height"
    rd: float | tuple[float, ...] = 15e3
    delta: float | tuple[float, ...] = 0.25
    f0: float = 1e-4

    def __post_init__(self) -> None:
        for name in ("rd", "delta"):
            value = getattr(self, name)
            if isinstance(value, Tensor):
                value = value.tolist()
            value = tuple(float(v) for v in value) if isinstance(value, tuple | list) else float(value)
            object.__setattr__(self, name, value)
            if not all(v > 0 for v in (value if isinstance(value, tuple) else (value,))):
                raise SettingsError(f"{name} of a layered height must be positive, got {value}.")
        if not self.f0:
            raise SettingsError("f0 must not be 0: without rotation no streamfunction belongs to a surface height.")

    def check(self, layout: Layout) -> None:
        if len(layout.channels) != 2 or len(layout.space) != 2 or layout.grid is None or not layout.grid.periodic:
            raise SettingsError(
                f"LayeredHeight observes the potential vorticity of two layers on a periodic plane, (2, Y, X) with a grid; "
                f"these states are {layout.state_shape}."
            )

    @property
    def output(self) -> Layout:
        return replace(self.bound, channels=(Channel("ssh", "m", "sea surface height"),))

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        del t
        g = self._modes().to(x)
        f1, f2 = self._coupling(x)
        q1, q2 = g.forward(x).unbind(-3)
        k2 = g.k2
        psi1 = g.inverse_laplacian / (k2 + f1 + f2) * ((k2 + f2) * q1 + f1 * q2)
        return (self.f0 / GRAVITY) * g.inverse(psi1).unsqueeze(-3)

    def seen(self, mask: Tensor, t: Tensor | None = None) -> Tensor:
        """Everywhere, where both layers are known everywhere: inversion is not local."""
        del t
        every = mask.flatten(-3).all(-1)[..., None, None, None]
        return every.expand(*mask.shape[:-3], 1, *mask.shape[-2:])

    def variance(self, variance: Tensor) -> Tensor:
        if bool((variance != 0).any()):
            raise SettingsError(
                "Noise on potential vorticity gives correlated noise on the height: add noise after it."
            )
        return variance[:1]

    def back(self, y: Tensor, seen: Tensor, t: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The potential vorticity of a flow of this height with a lower layer at rest."""
        del t
        g = self._modes().to(y)
        f1, f2 = self._coupling(y)
        psi1 = g.forward((GRAVITY / self.f0) * torch.where(seen, y, y.new_zeros(()))).squeeze(-3)
        q = torch.stack([-(g.k2 + f1) * psi1, f2 * psi1], -3)
        return g.inverse(q), seen.any(-3, keepdim=True).expand(*seen.shape[:-3], 2, *seen.shape[-2:])

    def rows(self, environments: Sequence[int]) -> Operator:
        pick = lambda v: tuple(v[e] for e in environments) if isinstance(v, tuple) else v  # noqa: E731
        return replace(self, rd=pick(self.rd), delta=pick(self.delta))

    def _modes(self) -> SpectralGrid:
        grid = self.bound.grid
        assert grid is not None  # checked when bound
        return SpectralGrid(grid.shape, tuple(n * d for n, d in zip(grid.shape, grid.spacing, strict=True)))

    def _coupling(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """F1 and F2: numbers, or ``(E, 1, 1, 1, 1)`` against coefficients ``(E, N, T, Y, X // 2 + 1)``."""
        shape = lambda v: v.reshape(-1, 1, 1, 1, 1) if v.ndim else v  # noqa: E731
        rd, delta = (shape(torch.tensor(v, dtype=torch.float64, device=like.device)) for v in (self.rd, self.delta))
        f1 = 1 / (rd**2 * (1 + delta))
        return f1.to(like.dtype), (delta * f1).to(like.dtype)
