"""Settings of grids and of runs: what grid files and the command line can say."""
