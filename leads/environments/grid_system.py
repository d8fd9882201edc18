"""Systems of fields advanced by finite differences on a grid."""

from __future__ import annotations

import weakref
from abc import abstractmethod
from collections.abc import Callable
from math import prod

import torch
from torch import Tensor

from leads.environments.system import System
from leads.errors import DivergenceError
from leads.integrators.compiled import cannot_compile, compiled
from leads.integrators.each import Attempt, integrate_each, make_attempt

#: States advanced together: with their slopes they stay in a core's cache.
CACHED_BYTES = 2**18
#: Values in all initial states from which compiling pays (some seconds, once a machine and shape): the 128 test
#: trajectories of a published Gray-Scott set.
WORTH_COMPILING = 2**18

_attempts: weakref.WeakKeyDictionary[GridSystem, Attempt] = weakref.WeakKeyDictionary()


class GridSystem(System):
    """A system whose right-hand side is written for fields with space first and trajectories last.

    That layout lets a stencil run along rows of neighbouring trajectories, and the compiler turn a whole step into a
    few loops. A subclass gives :meth:`rates` in place of ``rhs``.
    """

    #: ``None`` compiles where the work is large enough to repay it; ``True`` and ``False`` decide.
    compile: bool | None = None

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

    def _solve(self, x0: Tensor, p: Tensor, t: Tensor, rtol: float, atol: float) -> Tensor:
        chunk = max(1, CACHED_BYTES // (prod(x0.shape[1:]) * x0.element_size()))
        attempt = None
        if self._compiles(x0, p):
            attempt = _attempts.get(self)
            if attempt is None:
                attempt = _attempts[self] = compiled(make_attempt(self.rates, self.method, batch_last=True))
        parts = []
        for first in range(0, len(x0), chunk):
            x, q = x0[first : first + chunk], p[first : first + chunk]
            # The last part is filled up, so that every trajectory is solved by the same loops whatever stands beside it.
            missing = chunk - len(x) if attempt is not None else 0
            if missing:
                x, q = torch.cat([x, x[:1].expand(missing, *x.shape[1:])]), torch.cat([q, q[:1].expand(missing, -1)])
            x, q = x.movedim(0, -1).contiguous(), q.mT.contiguous()
            try:
                states = integrate_each(
                    self.rates, x, t, q, method=self.method, rtol=rtol, atol=atol, batch_last=True, attempt=attempt
                )
            except DivergenceError as error:
                if error.trajectory is not None:
                    error.trajectory += first
                raise
            parts.append(states.movedim(-1, 1)[:, : chunk - missing])
        return torch.cat(parts, 1)

    def _compiles(self, x0: Tensor, p: Tensor) -> bool:
        if torch.is_grad_enabled() and (x0.requires_grad or p.requires_grad):
            return False
        if self.compile is None:
            return x0.numel() >= WORTH_COMPILING and cannot_compile() is None
        return self.compile
