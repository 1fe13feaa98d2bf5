"""Products of matrices in tiles: Dense, Conv1D and input projections, in floats and integers, and how rows become integers."""
