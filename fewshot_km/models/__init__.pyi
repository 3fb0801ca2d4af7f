from .backbone_registry import NETWORKS as NETWORKS
from .network import Network as Network
from .network import build_network as build_network
