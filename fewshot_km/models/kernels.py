"""The convolution kernels of a network with given parameters, before and after modulation."""

from collections.abc import Mapping

from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.utils import parametrize


def kept_kernels(network: nn.Module, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The kernels W [k_n, k_c, k_h, k_w] of every Conv2d by layer, before any modulation."""
    return _ask(_Kept(network), parameters)


def used_kernels(network: nn.Module, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The kernels [k_n, k_c, k_h, k_w] that every Conv2d convolves with, by layer: W~ where it is modulated, else W."""
    return _ask(_Used(network), parameters)


class _Used(nn.Module):
    """A network that answers with its kernels instead of logits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def kernel_of(self, layer: nn.Conv2d) -> Tensor:
        return layer.weight

    def forward(self) -> dict[str, Tensor]:
        layers = ((name, layer) for name, layer in self.network.named_modules() if isinstance(layer, nn.Conv2d))
        return {name: self.kernel_of(layer) for name, layer in layers}


class _Kept(_Used):
    def kernel_of(self, layer: nn.Conv2d) -> Tensor:
        if not parametrize.is_parametrized(layer, "weight"):
            return layer.weight
        kept = layer.get_submodule("parametrizations.weight").original
        assert isinstance(kept, Tensor)
        return kept


def _ask(wrapper: _Used, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Call the wrapper with the parameters that the network has: a delta may hold others, too."""
    own = {name for name, _ in wrapper.network.named_parameters()}
    values = {f"network.{name}": value for name, value in parameters.items() if name in own}
    kernels: dict[str, Tensor] = functional_call(wrapper, values, ())
    return kernels
