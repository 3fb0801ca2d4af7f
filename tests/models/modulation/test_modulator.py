"""Kernel modulators against the paper's equations, its counts, and plain networks."""

import pytest
import torch
from torch import nn

from fewshot_km.errors import ConfigError
from fewshot_km.models.modulation import KernelModulator, merge, modulate, modulator_names
from tests.support.networks_under_test import OMNIGLOT_20_WAY


@pytest.mark.parametrize(("size", "count"), [((3, 3), 162), ((1, 1), 2), ((5, 3), 450)])
def test_a_modulator_has_twice_the_square_of_the_kernel_area(size: tuple[int, int], count: int) -> None:
    assert sum(p.numel() for p in KernelModulator(size).parameters()) == count


def test_modulation_is_the_two_layer_perceptron_of_the_paper() -> None:
    """Element by element: W~[n, c] as a row vector is tanh(W[n, c] U1) U2."""
    modulator = KernelModulator((3, 2)).double()
    with torch.no_grad():
        modulator.u1.normal_()
        modulator.u2.normal_()
    w = torch.randn(4, 5, 3, 2, dtype=torch.float64)
    out = modulator(w)
    for n in range(4):
        for c in range(5):
            row = w[n, c].reshape(6)
            hidden = [sum(row[i] * modulator.u1[i, j] for i in range(6)).tanh() for j in range(6)]
            expected = [sum(hidden[i] * modulator.u2[i, j] for i in range(6)) for j in range(6)]
            torch.testing.assert_close(out[n, c].reshape(6), torch.stack(expected))


def test_it_starts_as_the_identity_and_a_little_noise() -> None:
    torch.manual_seed(0)
    noise = torch.cat([(m.u1.detach() - torch.eye(9)).flatten() for m in (KernelModulator((3, 3)) for _ in range(50))])
    assert abs(float(noise.std()) - 0.001) < 0.0001
    assert abs(float(noise.mean())) < 0.0001


def test_a_modulated_network_computes_with_modulated_kernels() -> None:
    network = OMNIGLOT_20_WAY.make()
    kernels = [m.weight.detach().clone() for m in network.modules() if isinstance(m, nn.Conv2d)]
    x = torch.rand(3, 1, 28, 28)
    modulate(network)
    modulators = [m for m in network.modules() if isinstance(m, KernelModulator)]
    assert len(modulators) == 4
    got = network(x)
    plain = OMNIGLOT_20_WAY.make()
    plain.load_state_dict({n: p for n, p in network.state_dict().items() if "parametrizations" not in n}, strict=False)
    convolutions = [m for m in plain.modules() if isinstance(m, nn.Conv2d)]
    with torch.no_grad():
        for convolution, kernel, modulator in zip(convolutions, kernels, modulators, strict=True):
            convolution.weight.copy_(modulator(kernel))
    assert torch.equal(got, plain(x))
    names = modulator_names(network)
    assert len(names) == 8
    assert set(names) < {n for n, _ in network.named_parameters()}


def test_merging_bakes_the_modulation_in() -> None:
    network = modulate(OMNIGLOT_20_WAY.make())
    x = torch.rand(3, 1, 28, 28)
    before = network(x)
    merged = merge(network)
    assert [n for n, _ in merged.named_parameters()] != []
    assert {n for n, _ in merged.named_parameters()} == {n for n, _ in OMNIGLOT_20_WAY.make().named_parameters()}
    assert torch.equal(merged(x), before)


def test_what_cannot_be_modulated_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one Conv2d"):
        modulate(nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="already parametrized; modulate a plain network"):
        modulate(modulate(OMNIGLOT_20_WAY.make()))
