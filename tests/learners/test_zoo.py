"""What every learner of the zoo must do, whatever it computes: the same by each backend, and what the contract says."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.nn import functional as F

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.errors import ConfigError
from fewshot_km.learners import InnerLoop, Params, build_learner
from fewshot_km.learners.contract_checks import check_contract, initial_meta
from tests.support.networks_under_test import SMALL_GROUP, SMALL_NETWORKS, SMALL_POOLED, SMALL_STRIDED, PaperNetwork
from tests.support.small_tasks import built, context, directions, episodes, slope

ZOO = [
    ("fomaml", {}),
    ("meta-sgd", {}),
    ("boil", {}),
    ("bn-maml", {}),
    ("bn-maml", {"adapt_head": True}),
    ("nil", {}),
    ("cavia", {"context": 5}),
    ("tadam-film", {}),
    ("protonet", {}),
    ("soft-kmeans", {}),
    ("matching", {}),
    ("relation", {}),
    ("r2d2", {"regulariser": 1.0}),
    ("metaoptnet", {}),
    ("metaoptnet", {"head": "ridge"}),
    ("feat", {"temperature": 4.0}),
]
IDS = ["-".join([name, *map(str, options.values())]) for name, options in ZOO]
each = pytest.mark.parametrize(("name", "options"), ZOO, ids=IDS)


@pytest.mark.parametrize("network", SMALL_NETWORKS)
@pytest.mark.parametrize("backend", ["fused", "vmap"])
@each
def test_backends_agree(name: str, options: dict[str, object], backend: str, network: str) -> None:
    """The outer gradient of two inner steps, and the answers at test, against the plain backend in float64."""
    learner, meta = built(name, options, SMALL_NETWORKS[network])
    episode = episodes(SMALL_NETWORKS[network], tasks=3)
    plain, other = (BACKENDS[b].outer_gradient(learner, meta, episode, context(2)) for b in ("plain", backend))
    torch.testing.assert_close(other.losses, plain.losses, rtol=1e-9, atol=1e-9)
    norm = torch.cat([v.flatten() for v in plain.gradient.values()]).norm()
    assert norm > 1e-3
    difference = torch.cat([(other.gradient[n] - plain.gradient[n]).flatten() for n in meta]).norm()
    assert float(difference / norm) < 1e-8
    correct = [BACKENDS[b].count_correct(learner, meta, episode, 3) for b in ("plain", backend)]
    assert torch.equal(*correct)


@pytest.mark.parametrize(("name", "options"), ZOO[1:], ids=IDS[1:])  # the first one's is no derivative, on purpose
def test_outer_gradient_is_that_of_finite_differences(name: str, options: dict[str, object]) -> None:
    """Along random directions of all meta-parameters, and of the learner's own."""
    learner, meta = built(name, options, SMALL_GROUP)
    episode = episodes(SMALL_GROUP, tasks=2)

    def loss(at: Params) -> Tensor:
        return BACKENDS["plain"].outer_gradient(learner, at, episode, context(1)).losses.sum()

    gradient = BACKENDS["plain"].outer_gradient(learner, meta, episode, context(1)).gradient
    for only in ("", "backbone.", "head.", "film.", "rates."):
        along = directions(meta, only)
        if any(v.any() for v in along.values()):
            expected = float(sum((gradient[n] * along[n]).sum() for n in meta))
            assert slope(loss, meta, along, size=1e-8) == pytest.approx(expected, rel=1e-5, abs=1e-6)


@each
def test_a_gpus_step_reads_no_value_back(name: str, options: dict[str, object]) -> None:
    """It would wait for the GPU: among tensors without values, `vmap` runs to its end all the same."""
    learner, meta = built(name, options)
    episode = episodes(tasks=2)
    with FakeTensorMode() as mode:
        fakes = [mode.from_tensor(t) for t in (episode.support_x, episode.support_y, episode.query_x, episode.query_y)]
        fake_meta = {n: mode.from_tensor(v) for n, v in meta.items()}
        outcome = BACKENDS["vmap"].outer_gradient(learner, fake_meta, type(episode)(*fakes), context(2))
        with pytest.raises(DataDependentOutputException):  # what reading a value would have raised
            outcome.losses.sum().item()


@pytest.mark.parametrize(("ways", "shots"), [(2, 1), (7, 3)])
@each
def test_any_ways_and_shots_keep_the_contract(name: str, options: dict[str, object], ways: int, shots: int) -> None:
    network = PaperNetwork(ways, SMALL_POOLED.image_shape, SMALL_POOLED.options)
    learner = build_learner(name, options, network.make, InnerLoop(0.1))
    episode = episodes(network, shots=shots)
    single = type(episode)(episode.support_x.float(), episode.support_y, episode.query_x.float(), episode.query_y)
    check_contract(learner, initial_meta(learner, 3), single, single, steps=(1, 2))


@each
def test_init_depends_on_the_seed_alone(name: str, options: dict[str, object]) -> None:
    learner = build_learner(name, options, SMALL_STRIDED.make, InnerLoop(0.1))
    before = torch.random.get_rng_state()
    first, again, other = learner.init(3), learner.init(3), learner.init(4)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert all(torch.equal(first[n], again[n]) for n in first)
    assert any(not torch.equal(first[n], other[n]) for n in first)


@each
def test_neither_the_order_of_support_nor_that_of_queries_matters(name: str, options: dict[str, object]) -> None:
    learner, meta = built(name, options)
    episode = episodes()
    sx, sy, qx = episode.support_x[0], episode.support_y[0], episode.query_x[0]
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=2), qx)
    mixed = torch.randperm(len(sx), generator=torch.Generator().manual_seed(1))
    delta = learner.adapt(meta, sx[mixed], sy[mixed], steps=2)
    torch.testing.assert_close(learner.predict(meta, delta, qx.flip(0)).flip(0), logits, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    "name", ["tadam-film", "protonet", "soft-kmeans", "matching", "relation", "r2d2", "metaoptnet", "feat"]
)
def test_without_a_head_of_its_own_for_each_class_names_of_classes_do_not_matter(name: str) -> None:
    learner, meta = built(name)
    episode = episodes()
    sx, sy, qx = episode.support_x[0], episode.support_y[0], episode.query_x[0]
    logits = learner.predict(meta, learner.adapt(meta, sx, sy, steps=1), qx)
    other = learner.predict(meta, learner.adapt(meta, sx, (sy + 1) % 3, steps=1), qx)
    torch.testing.assert_close(other.roll(-1, 1), logits, rtol=1e-8, atol=1e-8)


@each
def test_only_what_is_declared_transductive_looks_at_other_queries(name: str, options: dict[str, object]) -> None:
    """With group norm, through which no image sees another."""
    learner, meta = built(name, options, SMALL_GROUP)
    episode = episodes(SMALL_GROUP)
    delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=1)
    together = learner.predict(meta, delta, episode.query_x[0])
    alone = torch.cat([learner.predict(meta, delta, x[None]) for x in episode.query_x[0]])
    assert torch.allclose(alone, together, atol=1e-9) != getattr(learner, "transductive", False)


@pytest.mark.parametrize("name", ["fomaml", "meta-sgd", "boil", "nil", "protonet", "matching", "r2d2", "metaoptnet"])
def test_training_lowers_the_loss(name: str) -> None:
    """Twenty steps of gradient descent on one episode."""
    learner, meta = built(name, {"regulariser": 1.0} if name == "r2d2" else {})
    episode = episodes(tasks=2)
    losses = []
    for _ in range(20):
        outcome = BACKENDS["plain"].outer_gradient(learner, meta, episode, context(1))
        losses.append(float(outcome.losses.mean()))
        meta = {n: v - 0.05 * outcome.gradient[n] for n, v in meta.items()}
    assert losses[-1] < losses[0]


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("cavia", {"context": 0}, "cavia needs a context of at least one number, not 0"),
        ("cavia", {"layer": 5}, "cavia: the network has norm layers 1 to 4, and no layer 5"),
        ("soft-kmeans", {"refinements": -1}, "soft-kmeans cannot refine -1 times"),
        ("relation", {"hidden": 0}, "relation needs a hidden layer of at least one unit, not 0"),
        ("r2d2", {"regulariser": 0.0}, r"r2d2 needs a positive regulariser, not 0.0"),
        ("feat", {"temperature": 0.0}, r"feat needs a positive temperature, not 0.0"),
        ("metaoptnet", {"head": "knn"}, "'knn' is not allowed; allowed: 'svm' or 'ridge'"),
    ],
)
def test_values_that_cannot_be_are_refused(name: str, options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        build_learner(name, options, SMALL_STRIDED.make, InnerLoop(0.1))


def test_a_network_without_backbone_and_head_is_refused() -> None:
    with pytest.raises(ConfigError, match="ProtoNet needs a network with a backbone and a linear head"):
        build_learner("protonet", {}, lambda: torch.nn.Sequential(torch.nn.Flatten()), InnerLoop(0.1))


def test_cross_entropy_of_matching_is_the_papers_likelihood() -> None:
    """The logits are logarithms of probabilities, so that softmax leaves them as they are."""
    learner, meta = built("matching")
    episode = episodes()
    delta = learner.adapt(meta, episode.support_x[0], episode.support_y[0], steps=1)
    logits = learner.predict(meta, delta, episode.query_x[0])
    torch.testing.assert_close(F.log_softmax(logits, -1), logits, rtol=1e-12, atol=1e-12)
