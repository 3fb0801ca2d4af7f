"""What command lines and tuning files call the backends."""

from typing import Literal

BackendName = Literal["plain", "fused", "vmap", "compiled"]

AUTO = "auto"
"""The backend that the rule chooses; see `choice`."""
