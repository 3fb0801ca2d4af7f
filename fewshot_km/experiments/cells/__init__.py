"""One cell: its parts, its stages, and the worker that runs it."""
