"""What `init`, `adapt` and `predict` return: parameters, a delta, logits of the right shape, precision and device."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fewshot_km.learner_checks.check_report import Fault, Skip
from fewshot_km.learner_checks.source_places import place_of_method
from fewshot_km.learner_checks.subject import Subject, copied, copied_task, difference, make_task, moved
from fewshot_km.learners import Params
from fewshot_km.learners.modes import evaluating


def builds(subject: Subject) -> None:
    """The factory takes (make_network, inner, **options) and returns something with init, adapt and predict."""
    learner = subject.build()
    for method in ("init", "adapt", "predict"):
        if not callable(getattr(learner, method, None)):
            raise Fault(f"the learner has no method {method}()", place_of_method(learner, method), "write it")


def init_returns_parameters(subject: Subject) -> None:
    """`init` returns a dict of finite float32 tensors on the CPU."""
    learner = subject.build()
    meta = subject.init(learner)
    wrong = _not_tensors(meta) or ("" if meta else "an empty dict")
    for name, value in {} if wrong else meta.items():
        if value.dtype != torch.float32 or value.device.type != "cpu":
            wrong = f"{value.dtype} on {value.device} for '{name}'"
        elif value.requires_grad:
            wrong = f"'{name}' with requires_grad"
        elif not value.isfinite().all():
            wrong = f"numbers that are not finite in '{name}'"
    if wrong:
        raise Fault(
            f"init() returned {wrong}",
            place_of_method(learner, "init"),
            "return a dict of detached, finite float32 tensors on the CPU",
        )


def init_repeats(subject: Subject) -> None:
    """`init` is a function of the seed alone: not of the call, of the object, or of torch's global generator."""
    learner = subject.build()
    spoilt = subject.init(learner, seed=3)
    first = copied(spoilt)
    for value in spoilt.values():
        value.add_(1)  # as the outer loop changes them
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        again = subject.init(learner, seed=3)
    elsewhere = subject.init(subject.build(seed=1), seed=3)
    for other, what in ((again, "called twice with seed 3, it gives"), (elsewhere, "built anew, the learner gives")):
        if name := _first_difference(first, other):
            raise Fault(
                f"init() does not depend on its seed alone: {what} other values of '{name}'",
                place_of_method(learner, "init"),
                "build the network within init(), after torch.manual_seed(seed) under torch.random.fork_rng()",
            )


def seeds_matter(subject: Subject) -> None:
    """Another seed gives other values, where `init` draws random numbers."""
    learner = subject.build()
    with _RandomOperations() as drawn:
        first = subject.init(learner, seed=3)
    if _first_difference(first, subject.init(learner, seed=4)):
        return
    if not drawn.names:
        raise Skip("init() draws no random numbers")
    raise Fault(
        f"init() draws random numbers ({min(drawn.names)}), but gives the same values for seeds 3 and 4",
        place_of_method(learner, "init"),
        "draw them from the seed that init() is given",
    )


def trains(subject: Subject) -> None:
    """`adapt` and `predict` run on meta-parameters that want a gradient; the delta is a dict of tensors."""
    learner, task = subject.build(), make_task()
    meta = {name: value.clone().requires_grad_().clone() for name, value in subject.init(learner).items()}
    delta = subject.adapt(learner, meta, copied_task(task))
    if wrong := _not_tensors(delta):
        raise Fault(f"adapt() returned {wrong}", place_of_method(learner, "adapt"), "return a dict of tensors")
    logits = subject.predict(learner, meta, delta, task.query_x.clone())
    if not isinstance(logits, Tensor):
        raise Fault(
            f"predict() returned a {type(logits).__name__}",
            place_of_method(learner, "predict"),
            "return a tensor of logits [images, ways]",
        )


def tests_without_gradients(subject: Subject) -> None:
    """At test, `adapt` and `predict` run under `torch.no_grad()`."""
    learner = subject.build()
    try:
        subject.answer(learner, subject.init(learner), make_task())
    except Fault as fault:
        raise Fault(f"at test, where torch.no_grad() is on, {fault.what}", fault.where, _NO_GRAD) from fault


def answers_as_in_training(subject: Subject) -> None:
    """At test the learner answers as where gradients are recorded."""
    learner, meta, task = subject.start()
    leaves = {name: value.clone().requires_grad_().clone() for name, value in meta.items()}
    delta = subject.adapt(learner, leaves, copied_task(task))
    in_training = subject.predict(learner, leaves, delta, task.query_x.clone()).detach()
    if difference(subject.answer(learner, meta, task), in_training):
        raise Fault(
            "the answers under torch.no_grad() are others than where gradients are recorded",
            place_of_method(learner, "adapt"),
            _NO_GRAD,
        )


_NO_GRAD = "write `with torch.enable_grad():` around the inner loop's own gradients, or use torch.func.grad"


def logits_shape(subject: Subject) -> None:
    """Logits are [images, ways]."""
    learner, meta, task = subject.start()
    logits = subject.answer(learner, meta, task)
    wanted = [len(task.query_x), int(task.support_y.max()) + 1]
    if list(logits.shape) != wanted:
        raise Fault(
            f"predict() returned {list(logits.shape)} for {wanted[0]} images and {wanted[1]} ways",
            place_of_method(learner, "predict"),
            f"return logits {wanted}",
        )


def logits_dtype(subject: Subject) -> None:
    """Logits have the precision of the images."""
    learner, task = subject.build(), make_task()
    logits = subject.answer(learner, subject.init(learner), task)
    if logits.dtype != task.query_x.dtype:
        raise Fault(
            f"predict() returned {logits.dtype} for images of {task.query_x.dtype}",
            place_of_method(learner, "predict"),
            "keep to the precision of the images",
        )


def logits_finite(subject: Subject) -> None:
    """Logits are finite: an infinite one is an error of the cell, not a confident answer."""
    learner, task = subject.build(), make_task()
    logits = subject.answer(learner, subject.init(learner), task)
    if count := int((~logits.isfinite()).sum()):
        raise Fault(
            f"{count} of {logits.numel()} logits are not finite",
            place_of_method(learner, "predict"),
            "look for log(0), a division by zero, or an inner loop that diverges",
        )


def logits_device(subject: Subject) -> str:
    """Everything stays on the device of the images: on a GPU, or without one among tensors that have no values."""
    device = "cuda" if torch.cuda.is_available() else "meta"
    learner = subject.build()
    meta = {name: value.to(device) for name, value in subject.init(learner).items()}
    task = moved(make_task(), device)
    mend = "make new tensors on the device of the images: device=x.device, or x.new_zeros(...)"
    try:
        with torch.no_grad(), evaluating(learner):
            delta = subject.adapt(learner, meta, task)
            logits = subject.predict(learner, meta, delta, task.query_x)
    except Fault as fault:
        if "device" in fault.what:
            raise Fault(f"it mixes devices: {fault.what}", fault.where, mend) from fault
        if device == "meta":
            raise Skip(f"cannot be seen without a GPU, as it reads values of tensors: {fault.what[:120]}") from fault
        raise
    for what, tensors, method in (("a delta", delta, "adapt"), ("logits", {"logits": logits}, "predict")):
        if strange := [value.device for value in tensors.values() if value.device.type != device]:
            raise Fault(f"{what} on {strange[0]} for images on {device}", place_of_method(learner, method), mend)
    return "" if device == "cuda" else "seen without a GPU"


def _not_tensors(found: object) -> str:
    """What it is instead of a dict of tensors, in a few words."""
    if not isinstance(found, dict):
        return f"a {type(found).__name__}"
    strange = (f"a dict with a {type(v).__name__} for {k!r}" for k, v in found.items() if not _is_entry(k, v))
    return next(strange, "")


def _is_entry(name: object, value: object) -> bool:
    return isinstance(name, str) and isinstance(value, Tensor)


def _first_difference(a: Params, b: Params) -> str:
    """The first name of which the values differ; "" where none do."""
    differing: Iterator[str] = (n for n in {**a, **b} if n not in a or n not in b or not _same(a[n], b[n]))
    return next(differing, "")


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and a.dtype == b.dtype and torch.equal(a, b)


class _RandomOperations(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the operations that draw random numbers while it lasts."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if torch.Tag.nondeterministic_seeded in func.tags:
            self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))
