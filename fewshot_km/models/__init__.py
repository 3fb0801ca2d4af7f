"""Networks of a backbone and a head: plain modules, found by name.

Names and options are in `backbone_registry`. Everything else needs torch, and is imported when it is first asked for.
"""

import lazy_loader

from fewshot_km.models import backbone_registry  # noqa: F401 - importing registers

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
