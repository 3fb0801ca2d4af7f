"""The three learners: what adapts, how many numbers, and that `adapt` is the gradient descent it claims to be."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.func import functional_call

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.errors import ConfigError, ContractError, PluginError, UnknownNameError
from fewshot_km.learners import (
    ANIL,
    LEARNERS,
    GradientLearner,
    InnerLoop,
    Params,
    Task,
    TaskContext,
    TaskOutcome,
    build_learner,
)
from fewshot_km.learners.contract_checks import check_contract
from fewshot_km.models import Network, build_network
from fewshot_km.training.engine import Engine
from fewshot_km.training.outer_loop import OuterLoop, TrainingState, meta_train
from fewshot_km.training.plain import plain_outer_gradient
from tests.accel.test_backends import QUICK, assert_same_gradient, episodes
from tests.support.networks_under_test import (
    MINI_IMAGENET_5_WAY,
    OMNIGLOT_20_WAY,
    SMALL_GROUP,
    SMALL_POOLED,
    SMALL_STRIDED,
    PaperNetwork,
)
from tests.support.noise import noise_sampler


def learner_on(name: str, network: PaperNetwork, order: str = "second", **options: object) -> GradientLearner:
    learner = build_learner(name, options, network.make, InnerLoop(0.4, order))
    assert isinstance(learner, GradientLearner)
    return learner


def adapted_count(learner: GradientLearner, network: PaperNetwork) -> int:
    x = torch.rand(2 * network.ways, *network.image_shape)
    y = torch.arange(network.ways).repeat(2)
    return sum(value.numel() for value in learner.adapt(learner.init(0), x, y, steps=1).values())


@pytest.mark.parametrize(
    ("name", "options", "omniglot", "mini_imagenet"),
    [  # the table "Counts that a correct implementation reproduces", from the papers' own figures
        ("maml", {}, 112_724, 32_645),
        ("maml", {"norm_affine": "full"}, 113_236, 32_901),
        ("anil", {}, 1_300, 4_005),
        ("km-maml", {}, 2_460, 4_909),
        ("km-maml", {"norm_affine": "full"}, 2_460, 4_909),
        ("km-maml", {"norm_affine": "bias"}, 2_204, 4_781),
        ("km-maml", {"norm_affine": "none"}, 648 + 1_300, 648 + 4_005),
    ],
)
def test_adapted_parameters_are_those_of_the_papers(
    name: str, options: dict[str, object], omniglot: int, mini_imagenet: int
) -> None:
    assert adapted_count(learner_on(name, OMNIGLOT_20_WAY, **options), OMNIGLOT_20_WAY) == omniglot
    assert adapted_count(learner_on(name, MINI_IMAGENET_5_WAY, **options), MINI_IMAGENET_5_WAY) == mini_imagenet


def test_km_maml_never_adapts_a_kernel_or_its_bias() -> None:
    learner = learner_on("km-maml", OMNIGLOT_20_WAY)
    x, y = torch.rand(20, 1, 28, 28), torch.arange(20)
    delta = learner.adapt(learner.init(0), x, y, steps=2)
    assert not [name for name in delta if name.endswith("original") or name.endswith("conv.bias")]
    assert sum(name.endswith((".u1", ".u2")) for name in delta) == 8


@pytest.mark.parametrize("name", ["maml", "anil", "km-maml"])
def test_init_depends_on_the_seed_alone(name: str) -> None:
    learner = learner_on(name, OMNIGLOT_20_WAY)
    torch.manual_seed(7)
    before = torch.random.get_rng_state()
    first, again, other = learner.init(3), learner.init(3), learner.init(4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)
    assert {n for n, _ in learner.network.named_parameters()} == set(first)


@pytest.mark.parametrize("name", ["maml", "anil", "km-maml"])
def test_adapt_is_gradient_descent_on_the_support_loss(name: str) -> None:
    """Against torch.optim.SGD on a module of its own, two steps, float64."""
    learner = learner_on(name, OMNIGLOT_20_WAY)
    meta = {n: v.double() for n, v in learner.init(0).items()}
    x, y = torch.rand(20, 1, 28, 28, dtype=torch.float64), torch.arange(20)
    delta = learner.adapt(meta, x, y, steps=2)

    module = learner.build_network().double()
    module.load_state_dict(meta)
    adapted = {n: p for n, p in module.named_parameters() if n in delta}
    sgd = torch.optim.SGD(adapted.values(), lr=0.4)
    for _ in range(2):
        sgd.zero_grad()
        nn.functional.cross_entropy(module(x), y).backward()
        sgd.step()
    for n in delta:
        torch.testing.assert_close(delta[n], adapted[n].detach(), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(learner.predict(meta, delta, x), module(x).detach(), rtol=1e-10, atol=1e-10)


def test_adapt_has_no_side_effects() -> None:
    learner = learner_on("km-maml", OMNIGLOT_20_WAY)
    meta = learner.init(0)
    kept = {n: v.clone() for n, v in meta.items()}
    template = {n: p.detach().clone() for n, p in learner.network.named_parameters()}
    learner.adapt(meta, torch.rand(20, 1, 28, 28), torch.arange(20), steps=2)
    assert all(torch.equal(meta[n], kept[n]) for n in kept)
    assert all(torch.equal(p, template[n]) for n, p in learner.network.named_parameters())


def test_anil_leaves_features_alone() -> None:
    learner = learner_on("anil", OMNIGLOT_20_WAY)
    meta, x = learner.init(0), torch.rand(20, 1, 28, 28)
    delta = learner.adapt(meta, x, torch.arange(20), steps=3)
    merged = {n.removeprefix("backbone."): v for n, v in {**meta, **delta}.items() if n.startswith("backbone.")}
    original = {n.removeprefix("backbone."): v for n, v in meta.items() if n.startswith("backbone.")}
    backbone = learner.network.backbone
    assert isinstance(backbone, nn.Module)
    assert torch.equal(functional_call(backbone, merged, (x,)), functional_call(backbone, original, (x,)))


class HalfNetwork(Network):
    """Its logits are not the head's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * super().forward(x)


class HalfANIL(ANIL):
    def predict(self, meta: Params, delta: Params, x: torch.Tensor) -> torch.Tensor:
        return 0.5 * super().predict(meta, delta, x)


def half_network() -> Network:
    return HalfNetwork(OMNIGLOT_20_WAY.make().backbone, 20, OMNIGLOT_20_WAY.image_shape)


@pytest.mark.parametrize(
    "learner",
    [
        lambda: ANIL(half_network, InnerLoop(0.4)),
        lambda: HalfANIL(OMNIGLOT_20_WAY.make, InnerLoop(0.4)),
        lambda: ANIL(OMNIGLOT_20_WAY.make, InnerLoop(0.4)),
    ],
)
def test_anil_descends_on_what_it_predicts(learner: Callable[[], ANIL]) -> None:
    """Each step against autograd through `predict`, whatever that does."""
    made = learner()
    meta = {n: v.double() for n, v in made.init(0).items()}
    x, y = torch.rand(20, 1, 28, 28, dtype=torch.float64), torch.arange(20)
    head = {n: meta[n].clone().requires_grad_() for n in made.head_names()}
    loss = nn.functional.cross_entropy(made.predict(meta, head, x), y)
    gradients = torch.autograd.grad(loss, list(head.values()))
    delta = made.adapt(meta, x, y, steps=1)
    for (n, value), gradient in zip(head.items(), gradients, strict=True):
        torch.testing.assert_close(delta[n], (value - 0.4 * gradient).detach(), rtol=1e-10, atol=1e-12)


def test_unknown_learners_options_and_values_are_answered() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'maml'"):
        build_learner("malm", {}, OMNIGLOT_20_WAY.make, InnerLoop(0.1))
    with pytest.raises(
        ConfigError, match=r"learner 'km-maml' has no option 'norm_afine': did you mean 'norm_affine'\?"
    ):
        build_learner("km-maml", {"norm_afine": "full"}, OMNIGLOT_20_WAY.make, InnerLoop(0.1))
    with pytest.raises(ConfigError, match="learner 'anil' has no option 'steps': it takes no options"):
        build_learner("anil", {"steps": 3}, OMNIGLOT_20_WAY.make, InnerLoop(0.1))
    with pytest.raises(ConfigError, match="'some' is not allowed; allowed: 'full', 'bias' or 'none'"):
        build_learner("km-maml", {"norm_affine": "some"}, OMNIGLOT_20_WAY.make, InnerLoop(0.1))


def test_a_learner_that_names_missing_parameters_is_refused() -> None:
    class Wrong(GradientLearner):
        def adapted_names(self) -> list[str]:
            return ["head.wieght"]

    with pytest.raises(PluginError, match=r"Wrong\.adapted_names\(\) names 'head.wieght', which the network does not"):
        Wrong(OMNIGLOT_20_WAY.make, InnerLoop(0.1))


def test_names_are_taken_once() -> None:
    with pytest.raises(PluginError, match="learner 'maml' is already registered by"):
        LEARNERS.register("maml")(LEARNERS.get("anil"))


def test_modulation_needs_convolutions() -> None:
    def linear() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))

    with pytest.raises(ConfigError, match="at least one Conv2d"):
        build_learner("km-maml", {}, linear, InnerLoop(0.1))


def test_build_network_is_what_learners_get() -> None:
    network = build_network("conv4", {}, (1, 28, 28), 20)
    assert [n for n, _ in network.named_parameters()][-2:] == ["head.weight", "head.bias"]


class Weighted(GradientLearner):
    """A learner with a loss of its own: the queries' cross-entropy, weighted by the iteration, and a penalty."""

    def adapted_names(self) -> list[str]:
        return self.head_names()

    def task_loss(self, meta: Params, task: Task, context: TaskContext) -> TaskOutcome:
        delta = self.adapt(meta, task.support_x, task.support_y, steps=context.steps)
        logits = self.predict(meta, delta, task.query_x)
        penalty = sum((value**2).sum() for value in meta.values())
        loss = nn.functional.cross_entropy(logits, task.query_y)
        return TaskOutcome((context.iteration or 0) * loss + context.ways * penalty, logits)


def test_a_learners_own_loss_is_what_every_backend_descends_on() -> None:
    """Against the shipped loss, and the penalty's gradient by hand."""
    own, shipped = (kind(SMALL_STRIDED.make, InnerLoop(0.4)) for kind in (Weighted, Plain))
    meta = {n: v.double() for n, v in own.init(0).items()}
    episode, context = episodes(SMALL_STRIDED, tasks=2), SMALL_STRIDED.context(1)
    expected = plain_outer_gradient(shipped, meta, episode, context)
    for backend in QUICK:
        found = BACKENDS[backend].outer_gradient(own, meta, episode, replace(context, iteration=7))
        by_hand = {n: 7 * g + 2 * (2 * 3 * meta[n]) for n, g in expected.gradient.items()}
        assert_same_gradient(found.gradient, by_hand)
        torch.testing.assert_close(found.accuracies, expected.accuracies)
        penalty = sum((value**2).sum() for value in meta.values())
        torch.testing.assert_close(found.losses, 7 * expected.losses + 3 * penalty)
    with pytest.raises(ConfigError, match="'compiled' cannot run a learner with its own task_loss: choose 'vmap'"):
        BACKENDS["compiled"].outer_gradient(own, meta, episode, context)


class Plain(GradientLearner):
    def adapted_names(self) -> list[str]:
        return self.head_names()


class WrongLoss(Plain):
    def __init__(self, returned: Callable[[torch.Tensor], object]) -> None:
        super().__init__(SMALL_STRIDED.make, InnerLoop(0.4))
        self._returned = returned

    def task_loss(self, meta: Params, task: Task, context: TaskContext) -> object:
        return self._returned(self.predict(meta, {}, task.query_x))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda logits: logits.sum(), r"a Tensor: return TaskOutcome\(loss, logits\)"),
        (lambda logits: TaskOutcome(logits, logits), r"a tensor \[6, 3\] as the loss: return a scalar tensor"),
        (lambda logits: TaskOutcome(1.0, logits), "a float as the loss: return a scalar tensor"),
        (lambda logits: TaskOutcome(logits.sum(), logits[:2]), r"logits \[2, 3\] for 6 images and 3 ways"),
    ],
)
def test_a_task_loss_that_returns_something_else_is_refused(
    returned: Callable[[torch.Tensor], object], message: str
) -> None:
    learner, episode = WrongLoss(returned), noise_sampler().draw([0])
    with pytest.raises(ContractError, match=rf"task_loss\(\) returned {message}"):
        check_contract(learner, learner.init(0), episode, episode, steps=(1, 1))


def test_the_loss_is_told_the_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[TaskContext] = []
    learner = Weighted(SMALL_STRIDED.make, InnerLoop(0.4))
    of_task = learner.task_loss
    monkeypatch.setattr(learner, "task_loss", lambda m, t, context: heard.append(context) or of_task(m, t, context))
    outer = OuterLoop(lr=0.01, meta_batch=2, iterations=2, steps=3, clip_value=None, validate_every=2)
    meta_train(Engine(learner), TrainingState.before(learner.init(0)), noise_sampler(), lambda _: 0.5, outer)
    assert heard == [TaskContext(3, 1, (1, 28, 28), 3, iteration) for iteration in (1, 1, 2, 2)]


@pytest.mark.parametrize(("network", "expected"), [(SMALL_STRIDED, True), (SMALL_POOLED, True), (SMALL_GROUP, False)])
@pytest.mark.parametrize("name", ["maml", "anil", "km-maml"])
def test_transductive_is_said_where_a_query_sees_the_others(name: str, network: PaperNetwork, expected: bool) -> None:
    """As the answers themselves show: those of half of the queries, alone and among all."""
    learner = learner_on(name, network)
    meta = {n: v.double() for n, v in learner.init(0).items()}
    x = torch.rand(8, *network.image_shape, dtype=torch.float64)
    delta = learner.adapt(meta, x, torch.arange(8) % network.ways, steps=1)
    together, alone = learner.predict(meta, delta, x)[:4], learner.predict(meta, delta, x[:4])
    assert learner.transductive is expected
    assert torch.allclose(together, alone, rtol=1e-9) is not expected
