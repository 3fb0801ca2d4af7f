"""Grids of cells: what they are, where their results are kept, and how they run."""
