"""Meta-training and evaluation of any learner: the outer loop, its state, its file, and processes that share it."""
