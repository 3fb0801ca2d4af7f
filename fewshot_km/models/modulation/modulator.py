"""Kernel modulators as parametrizations of convolution weights (Hu & Liu 2022, arXiv 2203.15297, Eq. 2-4)."""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fewshot_km.errors import ConfigError

INIT_STD = 0.001  # the paper's I + N(0, 0.001), read as a standard deviation: modulation starts close to tanh(W)


class KernelModulator(nn.Module):
    """W~ = tanh(W U1) U2 over the k_h*k_w axis, without biases; U1 and U2 start as I + N(0, 0.001).

    The weight [k_n, k_c, k_h, k_w] is read as [k_n*k_c, k_h*k_w], so U1 and U2 are [k_h*k_w, k_h*k_w]:
    2 (k_h k_w)^2 numbers a layer whatever its width, 162 for a 3x3 kernel.
    """

    def __init__(self, kernel_size: tuple[int, int]) -> None:
        super().__init__()
        size = kernel_size[0] * kernel_size[1]
        self.u1 = nn.Parameter(_near_identity(size))
        self.u2 = nn.Parameter(_near_identity(size))

    def forward(self, weight: Tensor) -> Tensor:
        """W [k_n, k_c, k_h, k_w] -> W~ of the same shape."""
        rows = weight.flatten(2).flatten(0, 1)
        return (torch.tanh(rows @ self.u1) @ self.u2).reshape(weight.shape)


def _near_identity(size: int) -> Tensor:
    """I + N(0, 0.001), in place: on the meta device, other operations would import torch's compiler."""
    values = torch.randn(size, size).mul_(INIT_STD)
    values.diagonal().add_(1)
    return values


def modulate(network: nn.Module) -> nn.Module:
    """Put a modulator on every Conv2d of `network`, in place, and return it.

    The kernel W becomes the parameter `...parametrizations.weight.original`; U1 and U2 become
    `...parametrizations.weight.0.u1` and `.u2`. Raises ConfigError where there is no convolution, or where a
    convolution is already parametrized.
    """
    convolutions = {name: m for name, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    if not convolutions:
        raise ConfigError("kernel modulation needs a network with at least one Conv2d layer; this one has none")
    for name, module in convolutions.items():
        if parametrize.is_parametrized(module, "weight"):
            raise ConfigError(f"the weight of '{name}' is already parametrized; modulate a plain network")
        modulator = KernelModulator(cast(tuple[int, int], module.kernel_size))
        parametrize.register_parametrization(module, "weight", modulator, unsafe=True)  # it keeps shape and dtype
    return network


def merge(network: nn.Module) -> nn.Module:
    """Bake W~ into the weights of `network`, in place: a plain network with the same outputs."""
    for module in list(network.modules()):
        if isinstance(module, nn.Conv2d) and parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return network


def modulator_names(network: nn.Module) -> list[str]:
    """Names of the modulators' parameters U1 and U2 among `network.named_parameters()`."""
    return [
        f"{name}.{parameter}" if name else parameter
        for name, module in network.named_modules()
        if isinstance(module, KernelModulator)
        for parameter, _ in module.named_parameters()
    ]
