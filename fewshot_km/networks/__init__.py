"""Backbones and heads: plain modules, found by name."""

from fewshot_km.networks.base import NETWORKS, Network, build_network
from fewshot_km.networks.conv4 import conv4

__all__ = ["NETWORKS", "Network", "build_network", "conv4"]
