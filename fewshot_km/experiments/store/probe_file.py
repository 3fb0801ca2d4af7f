"""analysis.json of a finished cell: what stands in it; `analysis` finds it out."""

import json
from dataclasses import asdict, dataclass
from typing import Annotated

from pydantic import Field, FiniteFloat, TypeAdapter

EXAMPLES = 6  # test episodes whose answers are kept: enough to look at

Accuracy = Annotated[float, Field(ge=0, le=1)]
Kernels = tuple[tuple[FiniteFloat, ...], ...]


@dataclass(frozen=True)
class StepAccuracies:
    """The accuracy of every validation episode after so many inner steps, and their mean."""

    steps: Annotated[int, Field(ge=0, lt=2**31)]
    mean: Accuracy
    accuracies: tuple[Accuracy, ...]


@dataclass(frozen=True)
class LayerKernels:
    """The first 16 kernels of a Conv2d layer, of their first input channel, each as k_h * k_w numbers row by row.

    size    (k_h, k_w)
    before  W as it was meta-trained
    after   what the layer convolves with once the learner has adapted to test episode 0
    """

    layer: str
    size: tuple[int, int]
    before: Kernels
    after: Kernels

    def __post_init__(self) -> None:
        numbers = {len(kernel) for kernel in (*self.before, *self.after)}
        if len(self.before) != len(self.after) or numbers - {self.size[0] * self.size[1]}:
            raise ValueError("its kernels do not fit together")


@dataclass(frozen=True)
class Analysis:
    """The content of analysis.json.

    open_available   how many test episodes without a common image the pool holds
    open_accuracies  the accuracy of each of them, of as many as there are closed ones at most
    inner_steps      by inner steps, on validation episodes, because whoever looks at such a curve will choose by it;
                     without those after which logits are not finite
    examples         of the first test episodes the label given to each query, ordered by label as `image_ids` lists
                     them; -1 where there was none
    kernels          by layer; of a GradientLearner whose adapted kernels are finite
    """

    open_available: Annotated[int, Field(ge=0, lt=2**63)]
    open_accuracies: tuple[Accuracy, ...]
    inner_steps: tuple[StepAccuracies, ...]
    examples: tuple[tuple[int, ...], ...]
    kernels: tuple[LayerKernels, ...]

    def __post_init__(self) -> None:
        steps = [found.steps for found in self.inner_steps]
        uneven = len({len(found.accuracies) for found in self.inner_steps}) > 1
        if len(self.open_accuracies) > self.open_available or steps != sorted(set(steps)) or uneven:
            raise ValueError("its lists do not fit together")

    def to_json(self) -> str:
        """A line for each field."""
        lines = (f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in asdict(self).items())
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> "Analysis":
        """What `to_json` wrote; raises ValueError for anything else."""
        return _CONTENT.validate_json(text)


_CONTENT = TypeAdapter(Analysis)
