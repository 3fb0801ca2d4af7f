"""Networks of a backbone and a head: plain modules, found by name.

`backbone_registry` has names and options. All else needs torch, and is imported at its first use.
"""

import lazy_loader

from fewshot_km.models import backbone_registry  # noqa: F401 - importing registers

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
