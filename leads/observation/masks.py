"""Where nothing is seen: land, and clouds that come and go."""

from __future__ import annotations

import base64
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from leads.errors import SettingsError, ShapeError
from leads.numerics import SpectralGrid
from leads.observation.operator import Layout, Operator, operators


@operators.register("fixed_mask")
@dataclass(frozen=True, eq=False)
class FixedMask(Operator):
    """The same points at all times: land is not seen, nor is what no mooring measures.

    Values pass as they are; :meth:`seen` is what the mask changes.

    Args:
        keep: ``True`` where something is seen, shape ``X`` (all channels alike) or ``(C, *X)``; tensor, array or lists.

    Raises:
        SettingsError: a mask that is not boolean, or sees nothing.
        ShapeError: when bound, a mask of another shape.
    """

    kind = "fixed_mask"
    keep: Any = True

    def __post_init__(self) -> None:
        keep = torch.as_tensor(np.array(self.keep) if not isinstance(self.keep, Tensor) else self.keep)
        if keep.dtype != torch.bool:
            raise SettingsError(
                f"A mask is boolean, True where something is seen, got {keep.dtype}. Use e.g. depth > 0."
            )
        if not bool(keep.any()):
            raise SettingsError("This mask sees nothing at all: it is False everywhere. Is it the wrong way round?")
        object.__setattr__(self, "keep", keep)

    def check(self, layout: Layout) -> None:
        if tuple(self.keep.shape) not in (layout.space, layout.state_shape, ()):
            raise ShapeError(
                f"The mask has shape {tuple(self.keep.shape)}, the states {layout.state_shape}: give {layout.space} for all "
                f"channels, or {layout.state_shape}."
            )

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        del t
        return x

    def seen(self, mask: Tensor, t: Tensor | None = None) -> Tensor:
        del t
        return mask & self.keep.to(mask.device)

    def encode(self, value: Any) -> Any:
        bits = np.packbits(value.cpu().numpy().reshape(-1)).tobytes()
        return {"shape": list(value.shape), "bits": base64.b64encode(zlib.compress(bits)).decode()}

    @classmethod
    def decode(cls, value: Any) -> Any:
        try:
            shape = tuple(value["shape"])
            bits = np.frombuffer(zlib.decompress(base64.b64decode(value["bits"])), dtype=np.uint8)
            return torch.from_numpy(np.unpackbits(bits)[: math.prod(shape)].astype(bool).reshape(shape))
        except (ValueError, zlib.error) as error:
            raise SettingsError(f"The description of a mask is damaged: {error}.") from error


@operators.register("clouds")
@dataclass(frozen=True, eq=False)
class Clouds(Operator):
    """Gaps of a given cover that are correlated in space and time.

    A Gaussian random field of unit variance, ``<g(r) g(0)> = exp(-r^2 / 2 length^2)`` on the periodic box and
    ``exp(-|s| / duration)`` between times (exactly, also between unequal ones), is a cloud where it exceeds the quantile
    that gives ``cover``. Every trajectory has its own. In a box of few lengths the cover of single frames scatters much
    around its mean.

    Args:
        cover: share of the box that clouds hide, on average, in [0, 1).
        length: of a cloud, in the unit of the grid (in points where there is none).
        duration: time after which clouds are others, in the unit of the times; 0: new ones in every frame.
        names: channels that they hide; all by default (infrared sees no sea under clouds, radar does).

    Raises:
        SettingsError: values out of range; when bound, states without space axes or channels that are not there.
    """

    kind = "clouds"
    cover: float = 0.5
    length: float = 1.0
    duration: float = 0.0
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if not 0 <= self.cover < 1 or not 0 < self.length < math.inf or not self.duration >= 0:
            raise SettingsError(
                f"Clouds need a cover in [0, 1), a length > 0 and a duration >= 0, got {self.cover}, {self.length} and "
                f"{self.duration}."
            )

    def check(self, layout: Layout) -> None:
        if not 1 <= len(layout.space) <= 3:
            raise SettingsError(f"Clouds hide parts of a box of 1 to 3 axes; these states are {layout.state_shape}.")
        for name in self.names:
            layout.index(name)

    def forward(self, x: Tensor, t: Tensor | None = None) -> Tensor:
        del t
        return x

    def observe(self, x: Tensor, mask: Tensor, t: Tensor | None, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        layout = self.bound
        lead = x.shape[: self.axis]
        clear = self.clear(tuple(lead), self.times(t) if self.duration else None, generator).to(mask.device)
        hidden = torch.tensor([not self.names or c.name in self.names for c in layout.channels], device=mask.device)
        hidden = hidden.reshape(-1, *(1,) * len(layout.space))
        return x, mask & (clear.unsqueeze(self.axis) | ~hidden)

    def clear(self, lead: tuple[int, ...], t: Tensor | None, generator: torch.Generator) -> Tensor:
        """``True`` where there is no cloud, shape ``(*lead, *X)``; the last of ``lead`` is time."""
        layout = self.bound
        spacing = layout.grid.spacing if layout.grid is not None else (1.0,) * len(layout.space)
        grid = SpectralGrid(layout.space, tuple(n * d for n, d in zip(layout.space, spacing, strict=True)))
        shape = (lead[-1], *lead[:-1], *layout.space)
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        if t is not None and lead[-1] > 1:
            gaps = t.cpu().diff(dim=-1).movedim(-1, 0)
            kept = (-gaps / self.duration).exp()
            between = (1,) * (len(lead) - kept.ndim)
            kept = kept.reshape(len(kept), *between, *kept.shape[1:], *(1,) * len(layout.space))
            frames = [noise[0]]
            for share, fresh in zip(kept, noise[1:], strict=True):
                frames.append(share * frames[-1] + (1 - share**2).sqrt() * fresh)
            noise = torch.stack(frames)
        weight = (-0.25 * grid.k2 * self.length**2).exp()
        size = (grid.mode_weights * weight**2).sum() / math.prod(layout.space)
        smooth = grid.inverse(weight * grid.forward(noise)) / size.sqrt()
        limit = math.sqrt(2) * torch.erfinv(torch.tensor(1 - 2 * self.cover, dtype=torch.float64))
        return (smooth <= limit).movedim(0, len(lead) - 1)
