"""The known part of a model: a system's equations, whole or in part, with parameters known, learned or adapted."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from leads.adapters.adapter import Context
from leads.environments import System, make
from leads.environments.system import Parameter
from leads.errors import DataError, SettingsError, UnknownNameError
from leads.registry import nearest


class Physics(nn.Module):
    """``h(t, x, p_e)``: the sum of some terms of a system, whose parameters have one of five roles each.

    Learned parameters stay admissible by a smooth map from a free number r: ``low + (high - low) sigmoid(r)`` where the
    admissible range is bounded on both sides, ``low + softplus(r)`` (``high - softplus(r)``) where it is on one, r
    itself where it is not bounded.

    Args:
        system: whose equations.
        terms: names of the terms to keep (see ``system.terms``); all of ``rhs`` by default.
        fixed: parameters with one known value in all environments.
        given: names of parameters known in every environment, also in new ones: they are read from the data's
            ``parameters`` into the context ``"given"`` and neither trained nor adapted.
        shared: parameters learned once for all environments, with their starting values.
        own: parameters of each environment, with their starting values: ``r`` is in the context ``"physics"``.
        coded: parameters that follow the code of the learned part, ``r_e = r + W c_e``, with their starting values.
        code: size of that code, the context ``"code"``.

    Every parameter that a kept term reads needs one role.

    Source: Yin et al. (2021), APHYNITY (incomplete, complete and true physics); Koupai et al. (2024), GEPS,
    for ``coded`` (there without the map to admissible values).
    """

    like: Tensor

    def __init__(
        self,
        system: System,
        terms: Sequence[str] | None = None,
        fixed: Mapping[str, float] | None = None,
        shared: Mapping[str, float] | None = None,
        own: Mapping[str, float] | None = None,
        coded: Mapping[str, float] | None = None,
        code: int = 0,
        given: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.system, self.terms = system, None if terms is None else tuple(terms)
        self.fixed, self.shared_start = dict(fixed or {}), dict(shared or {})
        self.own_start, self.coded_start = dict(own or {}), dict(coded or {})
        self.given_names = tuple(given)
        self.names = self._read()
        self._check_roles()
        if self.coded_start and code < 1:
            raise SettingsError(
                f"Parameters that follow a code ({', '.join(self.coded_start)}) need an adapter whose context is a code "
                f"of at least one dimension, got code={code}."
            )
        # Follows the model's dtype and device, so that known values are exact in any precision.
        self.register_buffer("like", torch.zeros(()), persistent=False)
        self.own_free = [_free(self._parameter(name), value) for name, value in self.own_start.items()]
        learned = {**self.shared_start, **self.coded_start}
        free = [_free(self._parameter(name), value) for name, value in learned.items()]
        self.free = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(r)) for name, r in zip(learned, free, strict=True)}
        )
        if self.coded_start:
            bound = 1 / math.sqrt(code)
            self.weight = nn.Parameter(torch.empty(len(self.coded_start), code).uniform_(-bound, bound))

    def _read(self) -> tuple[str, ...]:
        """Names of the parameters that the kept terms read, in the system's order."""
        every = [q.name for q in self.system.parameters]
        if self.terms is None:
            return tuple(every)
        if not self.system.terms:
            raise SettingsError(
                f"{type(self.system).__name__} is not divided into terms; leave out terms to use all of its equations."
            )
        read = {name for term in self.terms for name in self.system.term(term).parameters}
        return tuple(name for name in every if name in read)

    def _check_roles(self) -> None:
        assigned = [name for role in self._roles() for name in role]
        for name in assigned:
            if name not in self.names:
                what = f"{type(self.system).__name__} with terms {self.terms or 'all'} reads no parameter {name!r}"
                raise UnknownNameError(f"{what}. {nearest(name, self.names)}")
        wrong = [name for name in self.names if assigned.count(name) != 1]
        if wrong:
            raise SettingsError(
                f"Every parameter needs exactly one of the roles fixed, given, shared, own, coded; these have none or several: "
                f"{', '.join(wrong)}."
            )
        for name, value in self.fixed.items():
            spec = self._parameter(name)
            if not spec.low <= value <= spec.high:
                raise SettingsError(
                    f"{name} = {value:g} is outside its admissible range [{spec.low:g}, {spec.high:g}]."
                )

    def _roles(self) -> tuple[Iterable[str], ...]:
        return self.fixed, self.given_names, self.shared_start, self.own_start, self.coded_start

    def _parameter(self, name: str) -> Parameter:
        return self.system.parameters[self.system.parameter_index(name)]

    def init_context(self) -> Context:
        """The starting values of an environment's own parameters, as free numbers ``{"physics": (K,)}``."""
        return {"physics": self.like.new_tensor(self.own_free)} if self.own_free else {}

    def given(self, parameters: Tensor | None) -> Context:
        """The known values of each environment, ``{"given": (E, K)}``, from the data's parameters ``(E, P)``."""
        if not self.given_names:
            return {}
        count, names = len(self.system.parameters), ", ".join(self.given_names)
        if parameters is None or parameters.ndim != 2 or parameters.shape[1] != count:
            came = "none" if parameters is None else f"shape {tuple(parameters.shape)}"
            raise DataError(
                f"The physics is given {names} in every environment: the data need parameters (E, {count}) of "
                f"{type(self.system).__name__}, got {came}. Supply them, or make these parameters shared or own."
            )
        columns = [self.system.parameter_index(name) for name in self.given_names]
        return {"given": parameters[:, columns].to(self.like)}

    def physical(self, context: Context) -> dict[str, Tensor]:
        """The parameters that are read, by name: each of shape ``(E,)`` where it differs between environments, or ``()``."""
        values = {name: self.like.new_full((), value) for name, value in self.fixed.items()}
        for i, name in enumerate(self.given_names):
            values[name] = context["given"][..., i]
        for name in self.shared_start:
            values[name] = bounded(self._parameter(name), self.free[name])
        for i, name in enumerate(self.own_start):
            values[name] = bounded(self._parameter(name), context["physics"][..., i])
        for i, name in enumerate(self.coded_start):
            values[name] = bounded(self._parameter(name), self.free[name] + context["code"] @ self.weight[i])
        return {name: values[name] for name in self.names}

    def prepare(self, context: Context) -> Tensor:
        """Parameters with an axis for trajectories: ``(1, P)`` for one environment, ``(E, 1, P)`` for stacked ones."""
        values = self.physical(context)
        # Parameters that no kept term reads: any number does.
        columns = [values.get(q.name, self.like) for q in self.system.parameters]
        return (
            torch.stack(torch.broadcast_tensors(*columns), -1).unsqueeze(-2) if columns else self.like.new_zeros(1, 0)
        )

    def forward(self, t: Tensor, x: Tensor, prepared: Tensor) -> Tensor:
        """``h``: ``x`` of shape ``(N, C, *X)`` or, with stacked parameters, ``(E, N, C, *X)``."""
        if self.terms is None:
            return self.system.rhs(t, x, prepared)
        return self.system.partial_rhs(self.terms, t, x, prepared)


def physics_of(family: str, arguments: Mapping[str, Any] | None = None, **settings: Any) -> Physics:
    """The physics of a registered family, from names and plain values.

    Args:
        family: a registered family.
        arguments: its arguments, e.g. ``{"size": 64}``.
        settings: of :class:`Physics`.
    """
    known = ("terms", "fixed", "shared", "own", "coded", "code", "given")
    for name in settings:
        if name not in known:
            raise SettingsError(f"Physics has no setting {name!r}. {nearest(name, ('family', 'arguments', *known))}")
    return Physics(make(family, **(arguments or {})).system, **settings)


def bounded(spec: Parameter, free: Tensor) -> Tensor:
    """The admissible value of a free number."""
    if math.isfinite(spec.low) and math.isfinite(spec.high):
        return spec.low + (spec.high - spec.low) * torch.sigmoid(free)
    if math.isfinite(spec.low):
        return spec.low + nn.functional.softplus(free)
    return spec.high - nn.functional.softplus(free) if math.isfinite(spec.high) else free


def _free(spec: Parameter, value: float) -> float:
    """The inverse of :func:`bounded`."""
    if not spec.low < value < spec.high:
        raise SettingsError(
            f"{spec.name} starts at {value:g}; a learned parameter starts strictly inside its admissible range "
            f"({spec.low:g}, {spec.high:g})."
        )
    inverse = lambda y: y + math.log(-math.expm1(-y))  # noqa: E731
    if math.isfinite(spec.low) and math.isfinite(spec.high):
        return math.log(value - spec.low) - math.log(spec.high - value)
    if math.isfinite(spec.low):
        return inverse(value - spec.low)
    return inverse(spec.high - value) if math.isfinite(spec.high) else float(value)
