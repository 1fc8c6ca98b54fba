"""Weights on their integer grids, and biases that correct what rounding moves."""
