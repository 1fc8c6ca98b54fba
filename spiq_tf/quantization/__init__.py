"""Integer grids: bit widths, scales and zero points, and the ranges from which they follow."""
