"""Few-shot meta-learning benchmarks: MAML, ANIL and KM-MAML.

The names in `__all__` are what users may rely on. Each is imported when it is first asked for, as most need torch.
"""

from typing import Any

import lazy_loader

_import_name, __dir__, _names = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*_names, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("fewshot_km")
    return _import_name(name)
