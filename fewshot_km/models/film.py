"""Feature-wise modulation: a task's own scale and shift of feature maps (FiLM, Perez et al. 2018)."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from fewshot_km.errors import ConfigError
from fewshot_km.models.norms import norm_parameter_names


@dataclass(frozen=True)
class FilmLayer:
    """A norm layer whose output can be scaled and shifted: the names of its gamma and beta, and its channels."""

    gamma: str
    beta: str
    channels: int


def film_layers(network: nn.Module) -> list[FilmLayer]:
    """The norm layers of a network that have a scale and a shift, from the input on; ConfigError where none has."""
    shapes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    shifts = {name.rpartition(".")[0]: name for name in norm_parameter_names(network, "bias")}
    scales = [name for name in norm_parameter_names(network) if name not in shifts.values()]
    found = [FilmLayer(g, shifts[m], shapes[g]) for g in scales if (m := g.rpartition(".")[0]) in shifts]
    if not found:
        raise ConfigError("feature-wise modulation needs a network with norm layers that have a scale and a shift")
    return found


def filmed(params: Mapping[str, Tensor], layer: FilmLayer, scale: Tensor, shift: Tensor) -> dict[str, Tensor]:
    """The layer's gamma and beta after which its output is scale * output + shift; scale and shift are [channels].

    scale * (gamma * h + beta) + shift = (scale * gamma) * h + (scale * beta + shift), so that no layer is added.
    """
    gamma, beta = params[layer.gamma], params[layer.beta]
    return {
        layer.gamma: scale.view_as(gamma) * gamma,
        layer.beta: scale.view_as(beta) * beta + shift.view_as(beta),
    }
