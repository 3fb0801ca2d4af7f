"""Running many tasks at once: meta-training and evaluation.

executions    the ways of running tasks: one plain reference, and faster ones that give the same numbers
choice        which of them is used where, by a fixed rule
tune          which of them is the fastest here, by measurement
engine        tasks over ranks and chunks
meta_train    the outer loop, which can stop and go on anywhere
checkpoint    its state in a file
compilation   the outer gradient as one compiled program
fast          operations for one task at a time on a CPU
operations    how they, and others, are put under any network
agreement     whether those that stand for a formula of ours still compute it

These need torch, and are imported when one of their names is first asked for. The others do not:

names              what command lines call the executions
history            what is known of an iteration, and of the iterations up to a validation
launching          whether this process is one of several
checkpoint_header  how far a checkpoint has come
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
