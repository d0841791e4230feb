"""The token dump: grids, file format, pictures and comparisons of it."""
