"""Meta-SGD: with equal rates it is MAML; else each parameter's step is its own rate's."""

import torch
from torch.nn import functional as F

from fewshot_km.accel.backends import BACKENDS
from tests.support.small_tasks import built, context, episodes


def test_with_all_rates_equal_it_is_maml() -> None:
    """Its delta and outer gradient, after two inner steps; at first, rates are the inner learning rate."""
    maml, _ = built("maml")
    learner, _ = built("meta-sgd")
    meta = {n: v.double() for n, v in learner.init(2).items()}
    assert all(bool((v == torch.tensor(0.3)).all()) for n, v in meta.items() if n.startswith("rates."))
    meta |= {n: torch.full_like(v, 0.3) for n, v in meta.items() if n.startswith("rates.")}  # 0.3 in double precision
    of_maml = {n: v.double() for n, v in maml.init(2).items()}
    assert {n for n in meta if not n.startswith("rates.")} == set(of_maml)
    episode = episodes(tasks=2)
    ours = BACKENDS["plain"].outer_gradient(learner, meta, episode, context(2))
    theirs = BACKENDS["plain"].outer_gradient(maml, of_maml, episode, context(2))
    torch.testing.assert_close(ours.losses, theirs.losses, rtol=1e-12, atol=0)
    for name, gradient in theirs.gradient.items():
        torch.testing.assert_close(ours.gradient[name], gradient, rtol=1e-9, atol=1e-11)


def test_a_step_is_the_gradient_times_the_rates_of_each_parameter() -> None:
    learner, meta = built("meta-sgd")
    episode = episodes()
    module = learner.build_network().double()
    module.load_state_dict({n: v for n, v in meta.items() if not n.startswith("rates.")})
    F.cross_entropy(module(episode.support_x[0]), episode.support_y[0]).backward()
    delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=1)
    assert delta
    for name, value in delta.items():
        parameter = module.get_parameter(name)
        expected = parameter - meta[f"rates.{name}"] * parameter.grad
        torch.testing.assert_close(value, expected.detach(), rtol=1e-10, atol=1e-12)


def test_every_adapted_number_has_a_rate_and_no_other() -> None:
    for affine in ("none", "bias", "full"):
        learner, meta = built("meta-sgd", {"norm_affine": affine})
        episode = episodes()
        delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=1)
        rates = {n.removeprefix("rates."): v.shape for n, v in meta.items() if n.startswith("rates.")}
        assert rates == {n: v.shape for n, v in delta.items()}


def test_the_gradient_of_a_rate_is_minus_the_product_of_two_gradients() -> None:
    """After one step, d loss / d alpha = -(query gradient at delta) * (support gradient at theta), elementwise."""
    learner, meta = built("meta-sgd")
    episode = episodes()
    outcome = BACKENDS["plain"].outer_gradient(learner, meta, episode, context(1))
    module = learner.build_network().double()
    module.load_state_dict({n: v for n, v in meta.items() if not n.startswith("rates.")})
    F.cross_entropy(module(episode.support_x[0]), episode.support_y[0]).backward()
    support = {n: p.grad.clone() for n, p in module.named_parameters()}
    delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=1)
    module.load_state_dict({n: v for n, v in meta.items() if not n.startswith("rates.")} | delta)
    module.zero_grad()
    F.cross_entropy(module(episode.query_x[0]), episode.query_y[0]).backward()
    for name in delta:
        expected = -module.get_parameter(name).grad * support[name]
        torch.testing.assert_close(outcome.gradient[f"rates.{name}"], expected, rtol=1e-8, atol=1e-11)
