"""That a learner learns: a few outer iterations on letters lower its loss, and new letters are told apart."""

import math
from functools import cache

import torch

from fewshot_km.data.dataset import Dataset
from fewshot_km.data.episodes import EpisodeSampler, Stream, TaskSpec
from fewshot_km.data.readers.glyphs import draw_bank
from fewshot_km.data.splits import make_splits, read_class_lists
from fewshot_km.learner_checks.check_report import Fault
from fewshot_km.learner_checks.source_places import place_of_method
from fewshot_km.learner_checks.subject import WAYS, Subject
from fewshot_km.training.engine import Engine, OuterStep

ITERATIONS, META_BATCH, EPISODES = 40, 4, 40
OUTER_LR = 0.01  # ten times MAML's, as there is little time
SIGNIFICANT = 5.0  # standard errors above chance: by luck once in some millions of checks


def learns(subject: Subject) -> str:
    """Some outer iterations lower the query loss of the first tasks, and tell new letters apart better than chance."""
    learner = subject.build()
    meta = subject.init(learner)
    train, test = samplers()
    engine = Engine(learner)
    adam = torch.optim.Adam(list(meta.values()), lr=OUTER_LR)

    def step(iteration: int) -> OuterStep:
        first = META_BATCH * iteration
        return engine.outer_step(meta, train, range(first, first + META_BATCH), steps=1)

    before = float(step(0).loss)
    for iteration in range(ITERATIONS):
        gradient = step(iteration).gradient
        for name, value in meta.items():
            value.grad = gradient[name]
        adam.step()
    after = float(step(0).loss)
    where = place_of_method(learner, "adapt")
    if not after < before:
        raise Fault(
            f"{ITERATIONS} outer iterations take the query loss of the first tasks from {before:.3f} to {after:.3f}",
            where,
            "look for a wrong sign, or a gradient that does not belong to the loss",
        )
    images = EPISODES * WAYS * test.spec.queries
    accuracy = int(engine.count_correct(meta, test, EPISODES, steps=3).sum()) / images
    chance = 1 / WAYS
    if accuracy < chance + SIGNIFICANT * math.sqrt(chance * (1 - chance) / images):
        raise Fault(
            f"{accuracy:.1%} of new letters are told after {ITERATIONS} outer iterations; chance has {chance:.0%}",
            where,
            "look at what predict() makes of the support set, or give the check an inner rate that suits the learner",
        )
    return f"query loss {before:.2f} to {after:.2f}; {accuracy:.0%} on new letters, chance {chance:.0%}"


@cache
def samplers() -> tuple[EpisodeSampler, EpisodeSampler]:
    """Training and test episodes of a few letters of the embedded data set, drawn in a second."""
    lists = {split: names[::14] for split, names in read_class_lists("glyphs").items()}
    bank = draw_bank([name for names in lists.values() for name in names])
    letters = Dataset("letters", bank, make_splits(bank, {s: [[n] for n in names] for s, names in lists.items()}))
    spec = TaskSpec(WAYS, 5, 5)
    return (
        EpisodeSampler(letters, "train", spec, Stream("train", 0)),
        EpisodeSampler(letters, "test", spec, Stream("test", 0)),
    )
