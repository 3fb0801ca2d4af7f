"""What the derivatives written out here have in common."""

from typing import Any

from torch import Tensor
from torch.autograd import Function

# torch's `once_differentiable` leaves them out, silently, where gradients are asked for by torch.autograd.grad
NO_THIRD = "this backend has no third derivatives; choose the backend 'plain' for this learner"


class SecondDerivative(Function):
    """A function without a derivative of its own, which is refused with NotImplementedError."""

    @staticmethod
    def backward(_: Any, *outputs: Tensor) -> Any:
        """Refuse."""
        raise NotImplementedError(NO_THIRD)
