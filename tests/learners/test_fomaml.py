"""First-order MAML against the gradient at the adapted parameters, which is all that its outer gradient is."""

import torch
from torch.nn import functional as F

from fewshot_km.accel.backends import BACKENDS
from tests.support.small_tasks import built, context, episodes


def test_the_outer_gradient_is_the_query_gradient_at_the_adapted_parameters() -> None:
    learner, meta = built("fomaml")
    episode = episodes()
    outcome = BACKENDS["plain"].outer_gradient(learner, meta, episode, context(3))

    module = learner.build_network().double()
    module.load_state_dict(meta)
    adapted = [p for n, p in module.named_parameters() if ".norm." not in n]
    sgd = torch.optim.SGD(adapted, lr=0.3)
    for _ in range(3):
        sgd.zero_grad()
        F.cross_entropy(module(episode.support_x[0]), episode.support_y[0]).backward()
        sgd.step()
    module.zero_grad()
    F.cross_entropy(module(episode.query_x[0]), episode.query_y[0]).backward()
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(outcome.gradient[name], parameter.grad, rtol=1e-8, atol=1e-10)


def test_it_is_not_the_gradient_of_maml_and_needs_no_setting() -> None:
    gradients = {}
    for name in ("maml", "fomaml"):
        learner, meta = built(name, order="second")
        gradients[name] = BACKENDS["plain"].outer_gradient(learner, meta, episodes(), context(1)).gradient
    apart = [float((gradients["maml"][n] - g).abs().max()) for n, g in gradients["fomaml"].items()]
    assert max(apart) > 1e-3
