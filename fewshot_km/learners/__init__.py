"""Meta-learning algorithms: one inner loop, and for each learner an answer to "which parameters adapt?".

Names and options are in `learner_registry`. Everything else needs torch, and is imported when it is first asked for.
"""

import lazy_loader

from fewshot_km.learners import learner_registry  # noqa: F401 - importing registers

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
