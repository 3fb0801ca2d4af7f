"""What meta-training needs: gradients of the meta-parameters, right ones, and alike in every backend."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.learner_checks.check_report import Doubt, Fault, Skip
from fewshot_km.learner_checks.source_places import place_of_error, place_of_method
from fewshot_km.learner_checks.subject import STEPS, Subject, copied, episode_of, make_task
from fewshot_km.learners import Params, TaskContext
from fewshot_km.training.plain import OuterGradient


def gradients_exist(subject: Subject) -> None:
    """The query loss has a gradient with respect to every meta-parameter."""
    learner, meta, task = subject.start()
    leaves = {name: value.clone().requires_grad_() for name, value in meta.items()}
    given = copied(leaves)
    logits = subject.predict(learner, given, subject.adapt(learner, given, task), task.query_x)
    where = place_of_method(learner, "adapt")
    mend = "use values of meta without detach(), .data or torch.no_grad(); leave out what is not to be trained"
    if not logits.requires_grad:
        raise Fault("the answers have no gradient: nothing can be meta-trained", where, mend)
    loss = F.cross_entropy(logits, task.query_y)
    found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
    without = [name for name, g in zip(leaves, found, strict=True) if g is None or not g.any()]
    if len(without) == len(leaves):
        raise Fault("no meta-parameter has a gradient: nothing can be meta-trained", where, mend)
    if without:
        raise Doubt(f"no gradient reaches {few(without)}: never meta-trained", where, mend)


def second_order(subject: Subject) -> None:
    """The gradient of a learner whose inner order is "second" is that of finite differences, in float64.

    Central differences of the query loss, a random direction for each meta-parameter and one for all of them. The step
    is small because the inner gradient jumps where a ReLU switches; a direction that meets such a place is drawn anew.
    """
    learner, meta, task = subject.start()
    if getattr(getattr(learner, "inner", None), "order", None) != "second":
        raise Skip('the learner does not claim it: its `inner.order` is not "second"')
    episode, context = episode_of([task]), TaskContext.of(task, STEPS, iteration=1)
    plain = BACKENDS["plain"].outer_gradient
    gradient = plain(learner, copied(meta), episode, context).gradient
    whole = _norm(gradient)
    generator = torch.Generator().manual_seed(0)

    def is_slope_of(names: list[str]) -> bool:
        direction = {n: torch.randn(meta[n].shape, generator=generator, dtype=torch.float64) for n in names}
        length = _norm(direction)
        size = 1e-7 / length
        ends = [{**meta, **{n: meta[n] + sign * size * direction[n] for n in names}} for sign in (1, -1)]
        up, down = (float(plain(learner, end, episode, context).losses.sum()) for end in ends)
        slope = float(sum((gradient[n] * direction[n]).sum() for n in names)) / length
        return abs((up - down) / 2e-7 - slope) <= 1e-3 * abs(slope) + 1e-5 * whole

    wrong = [
        names
        for names in (list(meta), *([name] for name in meta))
        if not any(is_slope_of(names) for _ in range(ATTEMPTS))
    ]
    if wrong:
        named = sorted({name for names in wrong if len(names) == 1 for name in names})
        raise Fault(
            f"the outer gradient is not the slope of the query loss{f' along {few(named)}' if named else ''}",
            place_of_method(learner, "adapt"),
            "look for detach(), .data or create_graph=False; a first-order learner says so: "
            'super().__init__(make_network, InnerLoop(inner.lr, "first"))',
        )


ATTEMPTS = 3  # directions: a step of 1e-7 hardly ever meets a place where a ReLU switches, three in a row never do


def agrees_with_plain(backend: str) -> Callable[[Subject], None]:
    """A check that a backend trains and answers as the plain one does, or says why it cannot."""

    def check(subject: Subject) -> None:
        learner = subject.build(image=COLOUR)
        meta = subject.init(learner, dtype=subject.dtype)
        tasks = [make_task(image=COLOUR, seed=seed, dtype=subject.dtype) for seed in (0, 1, 2)]
        episode, context = episode_of(tasks), TaskContext.of(tasks[0], STEPS, iteration=1)

        def run(name: str) -> tuple[OuterGradient, Tensor]:
            return (
                BACKENDS[name].outer_gradient(learner, copied(meta), episode, context),
                BACKENDS[name].count_correct(learner, copied(meta), episode, STEPS),
            )

        expected, counts = run("plain")
        try:
            got, got_counts = run(backend)
        except Exception as error:
            raise Doubt(
                f"cannot run this learner ({say_why(error)}): its tasks are run by 'plain' instead",
                place_of_error(error) or place_of_method(learner, "adapt"),
                _CANNOT.get(backend, "use torch operations alone"),
            ) from error
        close = 1e-6 if subject.dtype == torch.float64 else 1e-2
        apart = _norm({n: got.gradient[n] - g for n, g in expected.gradient.items()}) / _norm(expected.gradient)
        what = ""
        if not apart <= close:
            what = f"its outer gradient differs by {apart:.1%} from that of 'plain'"
        elif not torch.allclose(got.losses, expected.losses, rtol=close):
            what = "its query losses differ from those of 'plain'"
        elif not torch.equal(got_counts, counts):
            what = "it answers otherwise than 'plain' at test"
        if what:
            mend = "use torch operations on the arguments alone; do not ask whether gradients or vmap are on"
            raise Fault(what, place_of_method(learner, "adapt"), mend)

    return check


_CANNOT = {
    "fused": "take gradients by torch.autograd.grad, as GradientLearner.descend does, not by torch.func",
    "vmap": "do not branch on values, nor change tensors in place; F.one_hot(y, n) is y[:, None] == torch.arange(n)",
}
COLOUR = (3, 28, 28)  # backends lay out the memory of colour images in ways of their own


def say_why(error: Exception) -> str:
    """Why a backend cannot run a learner, in a few words: torch explains itself at length."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def few(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(map(repr, names[:3]))}{more}"


def _norm(params: Params) -> float:
    return float(torch.cat([value.flatten() for value in params.values()]).norm())
