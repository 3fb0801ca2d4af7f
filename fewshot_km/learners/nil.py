"""NIL: no inner loop at test (Raghu et al. 2020, Sec. 5.1)."""

from torch import Tensor

from fewshot_km.learners.anil import ANIL
from fewshot_km.learners.base import NetworkFactory, Params
from fewshot_km.learners.learner_registry import InnerLoop
from fewshot_km.learners.matching import MatchingNet


class NIL:
    """NIL: meta-trained as ANIL; at validation and test without head, by the cosine of features as matching networks.

    Which of the two is asked for, the mode of the network says: it is in evaluation mode at validation and test.
    """

    def __init__(self, make_network: NetworkFactory, inner: InnerLoop) -> None:
        self.training = ANIL(make_network, inner)
        self.testing = MatchingNet(make_network)

    @property
    def transductive(self) -> bool:
        """Whether the answer to a query depends on the other queries, as with the batch's norm."""
        return self.testing.transductive

    def init(self, seed: int) -> Params:
        """As ANIL."""
        return self.training.init(seed)

    def adapt(self, meta: Params, x: Tensor, y: Tensor, *, steps: int) -> Params:
        """In training ANIL's adapted head; at test the support features and labels of matching networks."""
        learner = self.training if self.training.network.training else self.testing
        return learner.adapt(meta, x, y, steps=steps)

    def predict(self, meta: Params, delta: Params, x: Tensor) -> Tensor:
        """Logits [M, N] by what has adapted."""
        return (self.testing if "support" in delta else self.training).predict(meta, delta, x)
