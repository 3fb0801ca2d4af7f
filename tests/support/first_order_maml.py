"""A learner as a user writes one, in a file of its own: the tests give it to --plugin."""

import torch
from torch.func import grad
from torch.nn.functional import cross_entropy

from fewshot_km.learners import GradientLearner, register


@register("my-fomaml")
class MyFirstOrderMAML(GradientLearner):
    """First-order MAML in my own words."""

    def adapted_names(self):
        return [name for name, _ in self.network.named_parameters()]

    def adapt(self, meta, x, y, *, steps):
        delta = {name: meta[name] for name in self.adapted_names()}
        for _ in range(steps):
            gradient = grad(lambda at: cross_entropy(self.predict(meta, at, x), y))(delta)
            delta = {name: delta[name] - self.inner.lr * torch.detach(gradient[name]) for name in delta}
        return delta
