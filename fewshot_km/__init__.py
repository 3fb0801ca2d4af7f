"""Few-shot meta-learning benchmarks: MAML, ANIL and KM-MAML."""
