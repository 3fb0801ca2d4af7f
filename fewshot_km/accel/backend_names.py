"""The backends' names on the command line and in tuning files, without torch, whose import takes seconds."""

from typing import Literal

BackendName = Literal["plain", "fused", "vmap", "compiled"]

AUTO = "auto"
"""Stands for the backend that the rule chooses (`accel.choice`)."""
