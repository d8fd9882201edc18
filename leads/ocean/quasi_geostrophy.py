"""The two-layer model as oceanographers see it: by the heights of its layers, of which altimetry sees the first."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from leads.environments.system import Channel
from leads.environments.two_layer_qg import GRAVITY, TwoLayerQG, coupling


class LayerHeights(TwoLayerQG):
    """:class:`TwoLayerQG` for the state ``h_i = f0 psi_i / g`` in m: the sea surface height, and the same of the lower layer.

    The potential vorticity follows from heights and parameters,

        q1 = (g / f0) (lap h1 + F1 (h2 - h1)),   q2 = (g / f0) (lap h2 + F2 (h1 - h2)),

    so that an observed state is one whatever a model takes the deformation radius to be (a state of q is not). Means of
    the heights are zero and stay zero. With a ``dissipation`` other than ``"filter"`` the modes that the 2/3 rule drops are
    taken as zero, so that ``rhs`` suits explicit steps of a few hours (on 32 points over 1000 km: rk4 of 8 hours). Arguments, terms and numerics are those of :class:`TwoLayerQG`.

    Initial states are those of :class:`TwoLayerQG`, as heights at the parameters ``reference``.
    """

    channels = (
        Channel("h1", "m", "sea surface height"),
        Channel("h2", "m", "height of the lower layer's pressure"),
    )

    def to_pv(self, xh: Tensor, p: Tensor) -> Tensor:
        g = self.modes.to(p)
        beta, rd, delta, shear, _ = self.split(p)
        c = coupling(beta, rd, delta, shear)
        own = torch.stack([-g.k2 - c.f1, -g.k2 - c.f2], -3)
        other = torch.stack(torch.broadcast_tensors(c.f1 + 0 * g.k2, c.f2 + 0 * g.k2), -3)
        factor = GRAVITY / self.f0 * (g.dealias if self.dealias else 1.0)
        return (factor * own).to(xh.dtype) * xh + (factor * other).to(xh.dtype) * xh.flip(-3)

    def from_pv(self, qh: Tensor, p: Tensor) -> Tensor:
        return self.f0 / GRAVITY * self._invert(qh, p)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        q = super().sample_x0(n, generator)
        p = torch.tensor(self.reference, dtype=torch.float64)
        return self.modes.inverse(self.from_pv(self.modes.forward(q), p))
