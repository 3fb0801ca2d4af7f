from .base import Network as Network
from .base import build_network as build_network
from .registered import NETWORKS as NETWORKS
