"""Backbones and heads: plain modules, found by name."""

from fewshot_km.networks import conv4
from fewshot_km.networks.base import NETWORKS, Network, build_network

__all__ = ["NETWORKS", "Network", "build_network", "conv4"]
