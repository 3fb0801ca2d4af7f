"""Other ways, shots, numbers of queries, image sizes and precision than those of the other checks."""

import torch

from fewshot_km.learner_checks.check_report import Fault
from fewshot_km.learner_checks.source_places import place_of_method
from fewshot_km.learner_checks.subject import IMAGE, QUERIES, SHOTS, WAYS, Subject, difference, make_task
from fewshot_km.learners import Learner


def other_ways(subject: Subject) -> None:
    """2 and 7 ways."""
    for ways in (2, 7):
        learner = subject.build(ways)
        _check(subject, learner, f"with {ways} ways", ways=ways)


def other_shots(subject: Subject) -> None:
    """1 and 4 shots, the same learner."""
    learner = subject.build()
    for shots in (1, 4):
        _check(subject, learner, f"with {shots} shots", shots=shots)


def other_queries(subject: Subject) -> None:
    """More queries than support images, and numbers that are no multiple of the ways."""
    learner = subject.build()
    _check(subject, learner, "with 4 queries a class", queries=4)
    for images in (2, 7):
        _check(subject, learner, f"with {images} query images in all", images=images)


def other_images(subject: Subject) -> None:
    """Colour images that are no squares."""
    image = (3, 32, 40)
    _check(subject, subject.build(image=image), "with images [3, 32, 40]", image=image)


def _check(
    subject: Subject,
    learner: Learner,
    what: str,
    *,
    ways: int = WAYS,
    shots: int = SHOTS,
    queries: int = QUERIES,
    images: int | None = None,
    image: tuple[int, int, int] = IMAGE,
) -> None:
    """Raise Fault unless the logits have the right shape and are finite."""
    task = make_task(ways, shots, queries, image)
    qx = task.query_x[:images]
    mend = "take ways, shots and sizes from the tensors and from the network; assume no numbers"
    try:
        logits = subject.answer(learner, subject.init(learner), task._replace(query_x=qx))
    except Fault as fault:
        raise Fault(f"{what}, {fault.what}", fault.where, mend) from fault
    if list(logits.shape) != [len(qx), ways] or not logits.isfinite().all():
        raise Fault(
            f"{what}, predict() returned {list(logits.shape)} instead of finite logits [{len(qx)}, {ways}]",
            place_of_method(learner, "predict"),
            mend,
        )


def float64(subject: Subject) -> None:
    """In float64 the answers are float64, and those of float32 up to rounding."""
    learner = subject.build()
    answers = []
    for dtype in (torch.float32, torch.float64):
        task = make_task(dtype=dtype)
        answers.append(subject.answer(learner, subject.init(learner, dtype=dtype), task))
    single, double = answers
    mend = "make tensors in the precision of the images: dtype=x.dtype, or x.new_zeros(...)"
    if double.dtype != torch.float64:
        raise Fault(f"{double.dtype} logits for float64 images", place_of_method(learner, "predict"), mend)
    if difference(single, double.to(torch.float32)):
        raise Fault("float64 gives other answers than float32", place_of_method(learner, "adapt"), mend)
