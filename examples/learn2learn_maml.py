"""learn2learn's own MAML and MetaSGD train a leads backbone on leads episodes; leads adapts and scores the result.

learn2learn does not install from the package index: tools/install_learn2learn.sh builds it.
"""

import sys
from dataclasses import replace

import torch

import leads
from leads.environments import Budget
from leads.interop.learn2learn import forecast_loss, learner, task_set, tasks
from leads.training import Episodes, TrainerSettings

steps = int(sys.argv[1]) if len(sys.argv) > 1 else 1500

family = leads.make("lotka_volterra")
family = replace(family, budget=Budget(train=4, test=8))
data = leads.generate(family)

# An episode holds all its environments; learn2learn takes them one by one. These are new ones every ten steps.
settings = TrainerSettings(
    steps=steps, horizons=(1, 5, 0), support=1, fresh_environments=16, fresh_every=10, environments_per_step=2
)
episodes = Episodes(data.train, settings, family)

for name in ("maml", "meta_sgd"):
    model = leads.build(name, family, inner_lr=0.01)
    wrapped = learner(model)  # learn2learn.algorithms.MAML or MetaSGD; its weights are the model's
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    for step in range(steps):
        losses = []
        for task in tasks(episodes.draw(step)):
            clone = wrapped.clone()
            clone.adapt(forecast_loss(clone, task.support))
            losses.append(forecast_loss(clone, task.query))
        optimizer.zero_grad()
        torch.stack(losses).mean().backward()
        optimizer.step()
    print(type(wrapped).__name__, leads.evaluate(leads.adapt(model, data.adapt), data.adapt_test))

# Its task data sets serve as well: each task is one seen environment with trajectories drawn by learn2learn.
task = task_set(data.train, support=1, query=3).sample()
loss = float(forecast_loss(wrapped, task.query).detach())
print(f"environment {task.environment}: query loss {loss:.3g} before the inner step")
