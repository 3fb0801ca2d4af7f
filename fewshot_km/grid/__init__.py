"""Grids of cells: what they are, where their results are kept, how they run."""

from fewshot_km.grid.grid import Cell, Grid, find_grid, load_grid, shipped_grids
from fewshot_km.grid.store import ResultStore
from fewshot_km.grid.stored_cell import StoredCell

__all__ = ["Cell", "Grid", "ResultStore", "StoredCell", "find_grid", "load_grid", "shipped_grids"]
