"""A system of your own: its equations, a family of environments, and the contract that it must hold."""

import sys

import numpy as np
import torch
from torch import Tensor

import leads
from leads.environments import Box, Budget, Channel, Parameter
from leads.testing import check_system


class Duffing(leads.System):
    """x'' = -d x' - a x - b x^3; state (2,): position and velocity."""

    channels = (Channel("position", "m"), Channel("velocity", "m/s"))
    parameters = (
        Parameter("damping", "1/s", 0, 1),
        Parameter("stiffness", "1/s2", -2, 2),
        Parameter("cubic", "1/m2/s2", 0, 5),
    )

    def rhs(self, t: Tensor, x: Tensor, p: Tensor) -> Tensor:
        (q, v), (d, a, b) = x.unbind(-1), p.unbind(-1)
        return torch.stack([v, -d * v - a * q - b * q**3], -1)

    def sample_x0(self, n: int, generator: np.random.RandomState) -> Tensor:
        return torch.from_numpy(generator.uniform(-1, 1, size=(n, 2)))


@leads.register("duffing")
def duffing() -> leads.EnvironmentFamily:
    seen = torch.tensor([[0.1, a, b] for a in (0.5, 1.0) for b in (0.5, 1.0)], dtype=torch.float64)
    return leads.EnvironmentFamily(
        name="duffing", split="own", system=Duffing(), seen=seen,
        unseen=torch.tensor([[0.1, 0.75, 0.75]], dtype=torch.float64),
        times=torch.arange(20, dtype=torch.float64) * 0.3, budget=Budget(train=4, test=8),
        distribution=Box((0.1, 0.5, 0.5), (0.1, 1.0, 1.0)),
    )  # fmt: skip


family = leads.make("duffing")
check_system(family.system, family.seen, family.times)
data = leads.generate(family, cache=False)
model = leads.build("geps", family, dim=2)
leads.fit(model, data.train, data.valid, steps=int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
print(leads.evaluate(leads.adapt(model, data.adapt), data.adapt_test))
