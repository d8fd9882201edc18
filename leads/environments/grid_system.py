"""Systems of fields advanced by finite differences on a grid."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from math import prod

from torch import Tensor

from leads.environments.batches import Layout
from leads.environments.system import System
from leads.integrators import tableau

#: States advanced together, with all slopes of a step, in bytes: about what a core's cache holds.
CACHED_BYTES = 3 * 2**20


class GridSystem(System):
    """A system whose right-hand side is written for fields with space first and trajectories last.

    That layout lets a stencil run along rows of neighbouring trajectories, and the compiler turn a whole step into a
    few loops. A subclass gives :meth:`rates` in place of ``rhs``.
    """

    @abstractmethod
    def rates(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        """Time derivative.

        Args:
            t: time, shape ``()`` or ``(*B,)``.
            x: states, shape ``(C, *X, *B)``.
            p: parameters, shape ``(P, *B)``: each one broadcasts against a field as it is.

        Returns:
            ``dx/dt``, shape of ``x``.
        """

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        return self._space_first(self.rates, t, x, p)

    def _sum(self, names: tuple[str, ...], t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        # ``parts`` of a grid system have the layout of ``rates``.
        return self._space_first(lambda s, y, q: super(GridSystem, self)._sum(names, s, y, q), t, x, p)

    def _space_first(
        self, rates: Callable[[Tensor, Tensor, Tensor], Tensor], t: Tensor, x: Tensor, p: Tensor
    ) -> Tensor:
        lead = x.ndim - len(self.state_shape)
        batch = tuple(range(lead))
        last = tuple(range(-lead, 0)) if lead else ()
        wide = p.expand(*x.shape[:lead], p.shape[-1]) if lead else p
        return rates(t, x.movedim(batch, last).contiguous(), wide.movedim(-1, 0)).movedim(last, batch)

    def layout(self, x0: Tensor, compiles: bool, method: str) -> Layout:
        rule = tableau(method)
        slopes = len(rule.b) + 3
        most = CACHED_BYTES // (prod(x0.shape[1:]) * x0.element_size() * slopes)
        # Whole vectors of the processor.
        chunk = 2 ** max(3, most.bit_length() - 1)
        return Layout(self.rates, True, chunk, chunk if compiles else 1)
