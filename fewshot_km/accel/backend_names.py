"""What command lines and tuning files call the executions."""

from typing import Literal

ExecutionName = Literal["plain", "loop", "vmap", "compiled"]

AUTO = "auto"
"""The execution that the rule chooses; see `choice`."""
