"""That `adapt` and `predict` are functions of what they are given, and leave everything as they found it."""

from collections.abc import Iterator

import torch
from safetensors.torch import load, save
from torch import Tensor

from fewshot_km.accel.backends import BACKENDS
from fewshot_km.learner_checks.check_report import Fault
from fewshot_km.learner_checks.source_places import place_of_method
from fewshot_km.learner_checks.subject import STEPS, Subject, copied, copied_task, difference, episode_of, make_task
from fewshot_km.learners import Learner, Params
from fewshot_km.learners.modes import evaluating


def repeats(subject: Subject) -> None:
    """The same call twice gives the same, to the bit."""
    learner, meta, task = subject.start()
    if not torch.equal(subject.answer(learner, meta, task), subject.answer(learner, meta, task)):
        raise Fault(
            "the same task is answered differently when it is asked again",
            place_of_method(learner, "adapt"),
            "draw no random numbers at test, and keep nothing on self",
        )


def inputs_are_kept(subject: Subject) -> None:
    """Meta-parameters, images, labels and the delta are not changed in place, in training nor at test."""
    learner, meta, task = subject.start()
    for mode in ("training", "testing"):
        given, own = copied(meta), copied_task(task)
        if mode == "training":
            given = {name: value.requires_grad_().clone() for name, value in given.items()}
        with torch.set_grad_enabled(mode == "training"):
            delta = subject.adapt(learner, given, own)
            kept = copied(delta)
            _check_kept(learner, "adapt", mode, {**meta, **task._asdict()}, {**given, **own._asdict()})
            subject.predict(learner, given, delta, own.query_x)
        _check_kept(learner, "predict", mode, {**meta, **task._asdict()}, {**given, **own._asdict()})
        _check_kept(learner, "predict", mode, kept, delta)


_SAID = {"support_x": "the support images", "support_y": "the support labels", "query_x": "the query images"}


def _check_kept(learner: Learner, method: str, mode: str, before: Params, after: Params) -> None:
    for name in dict.fromkeys([*before, *after]):
        if name in before and name in after and torch.equal(before[name], after[name]):
            continue
        raise Fault(
            f"{method}() changes {_SAID.get(name, repr(name))} in place in {mode}",
            place_of_method(learner, method),
            "build new tensors and a new dict, as in {name: value - lr * gradient[name] for name, value in ...}",
        )


def delta_is_its_own(subject: Subject) -> None:
    """The delta shares no memory with the meta-parameters, which the outer loop changes in place."""
    learner, meta, task = subject.start()
    memory = {value.untyped_storage().data_ptr(): name for name, value in meta.items()}
    with torch.no_grad(), evaluating(learner):
        delta = subject.adapt(learner, meta, task)
    for name, value in delta.items():
        if value.numel() and (of := memory.get(value.untyped_storage().data_ptr())):
            raise Fault(
                f"'{name}' of the delta is the memory of the meta-parameter '{of}'",
                place_of_method(learner, "adapt"),
                "return what this task has changed and nothing else, or clone() it",
            )


def tasks_are_apart(subject: Subject) -> None:
    """Nothing of one task is left for another: A, B and A again; and A's delta still answers A after B."""
    learner, meta, first = subject.start()
    second = make_task(seed=1, dtype=subject.dtype)
    with torch.no_grad(), evaluating(learner):
        delta = subject.adapt(learner, meta, first)
        before = subject.predict(learner, meta, delta, first.query_x)
        subject.answer(learner, meta, second)
        with_old_delta = subject.predict(learner, meta, delta, first.query_x)
        again = subject.answer(learner, meta, first)
    of_second = subject.answer(learner, meta, second)
    other = subject.build()
    subject.init(other)
    for after, expected, method, when in (
        (with_old_delta, before, "predict", "with the delta that it had before"),
        (again, before, "adapt", "when it is adapted to again"),
        (of_second, subject.answer(other, meta, second), "adapt", "than by a learner that has seen no other"),
    ):
        if difference(after, expected):
            raise Fault(
                f"a task is answered differently after another one, {when}",
                place_of_method(learner, method),
                "keep nothing on self: what predict() needs of a task belongs to the delta",
            )


def generator_is_kept(subject: Subject) -> None:
    """torch's global generator is neither seeded nor drawn from: dropout and other learners use it, too."""
    learner, meta, task = subject.start()
    with torch.random.fork_rng(devices=[]):
        for method in ("init", "adapt", "predict"):
            torch.manual_seed(11)
            before = torch.random.get_rng_state()
            with torch.no_grad(), evaluating(learner):
                if method == "init":
                    subject.init(learner)
                elif method == "adapt":
                    delta = subject.adapt(learner, meta, task)
                else:
                    subject.predict(learner, meta, delta, task.query_x)
            if not torch.equal(before, torch.random.get_rng_state()):
                raise Fault(
                    f"{method}() seeds torch's global generator, or draws from it",
                    place_of_method(learner, method),
                    "use a torch.Generator of its own, or wrap it in torch.random.fork_rng(devices=[])",
                )


def modes_are_kept(subject: Subject) -> None:
    """Networks are in evaluation mode at test, so that dropout is off, and stay in the mode in which they were."""
    without, meta, task = subject.start()
    expected = subject.answer(without, meta, task)
    learner = subject.build(dropout=0.5)
    got = subject.answer(learner, meta, task)
    if difference(got, expected):
        raise Fault(
            "dropout of the network is on at test",
            place_of_method(learner, "predict"),
            "keep the network as an attribute of the learner, where the suite finds it, and never call train()",
        )
    before = list(_modes(subject))
    with torch.no_grad():
        subject.predict(learner, meta, subject.adapt(learner, meta, task), task.query_x)
    if before != list(_modes(subject)):
        raise Fault(
            "the learner sets the mode of its network, and leaves it so",
            place_of_method(learner, "adapt"),
            "call neither train() nor eval(): the suite sets the modes",
        )


def _modes(subject: Subject) -> Iterator[bool]:
    return (module.training for network in subject.made for module in network.modules())


def saves_and_loads(subject: Subject) -> None:
    """Meta-parameters and delta, saved and loaded, answer alike in a new learner: they are all that there is."""
    learner, meta, task = subject.start()
    with torch.no_grad(), evaluating(learner):
        delta = subject.adapt(learner, meta, task)
        before = subject.predict(learner, meta, delta, task.query_x)
    loaded = []
    for params, method in ((meta, "init"), (delta, "adapt")):
        try:
            content = save({name: value.detach().contiguous() for name, value in params.items()})
        except (RuntimeError, ValueError) as error:
            raise Fault(
                f"what {method}() returns cannot be saved: {' '.join(str(error).split())[:200]}",
                place_of_method(learner, method),
                "return dense tensors, each with memory of its own: clone() what shares it",
            ) from error
        loaded.append(load(content))
    new = subject.build(seed=1)
    with torch.no_grad(), evaluating(new):
        after = subject.predict(new, loaded[0], loaded[1], task.query_x)
        anew = subject.predict(new, loaded[0], subject.adapt(new, loaded[0], task), task.query_x)
    if after.shape != before.shape or difference(after, before) or difference(anew, before):
        raise Fault(
            "a new learner with the same meta-parameters and delta answers differently",
            place_of_method(learner, "predict"),
            "take all values from meta and delta: use torch.func.functional_call, and keep nothing on self in init()",
        )


def query_labels_are_unseen(subject: Subject) -> None:
    """The answers are the same when the labels of the queries, which the backend compares them with, are wrong."""
    learner, meta, task = subject.start()
    answers = []
    for labels in (task.query_y, task.query_y.flip(0), torch.zeros_like(task.query_y)):
        listener = _Listener(learner)
        episode = episode_of([task])
        episode.query_y[0] = labels
        BACKENDS["plain"].count_correct(listener, copied(meta), episode, STEPS)
        answers.append(listener.answers[0])
    if difference(answers[1], answers[0]) or difference(answers[2], answers[0]):
        raise Fault(
            "the answers change with the labels of the queries",
            place_of_method(learner, "predict"),
            "look at nothing but the arguments of adapt() and predict()",
        )


class _Listener:
    """A learner that keeps the answers of another one."""

    def __init__(self, learner: Learner) -> None:
        self.learner = learner
        self.answers: list[Tensor] = []

    def init(self, seed: int) -> Params:
        return self.learner.init(seed)

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        return self.learner.adapt(meta, x, y, steps=steps)

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        logits = self.learner.predict(meta, delta, x)
        self.answers.append(logits.detach().clone())
        return logits
