"""The settings of an adaptation."""

from __future__ import annotations

from dataclasses import dataclass

from leads.errors import SettingsError, UnknownNameError
from leads.registry import nearest

SOLVERS = ("auto", "levenberg_marquardt", "gradient", "none")


@dataclass(frozen=True)
class AdaptSettings:
    """How contexts of new environments are found.

    Attributes:
        solver: ``"levenberg_marquardt"``, ``"gradient"`` (Adam), ``"none"`` (contexts stay as the model's source gives
            them), or ``"auto"``: ``"none"`` where the source has adapted them already (an inner loop, an encoder), the
            first where a context has at most ``small`` values, the second otherwise.
        small: see ``solver``.
        iterations: most Levenberg-Marquardt iterations.
        tolerance: a relative decrease of the loss below it counts as converged.
        prior: weight of ``|context - start|^2`` beside the mean square error (Levenberg-Marquardt only).
        steps, lr: of the gradient solver; its rate decays to zero on a cosine.
        seed: of contexts that start at random (networks of an environment's own).
    """

    solver: str = "auto"
    small: int = 64
    iterations: int = 50
    tolerance: float = 1e-8
    prior: float = 0.0
    steps: int = 2000
    lr: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.solver not in SOLVERS:
            raise UnknownNameError(f"No adaptation solver is named {self.solver!r}. {nearest(self.solver, SOLVERS)}")
        if self.iterations < 1 or self.steps < 1 or not self.lr > 0 or self.prior < 0 or self.tolerance < 0:
            raise SettingsError(
                f"iterations, steps and lr must be positive, prior and tolerance not negative; got {self}."
            )
