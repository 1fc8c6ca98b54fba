"""Ranges of tensors that belong to no layer's output: converter-generated intermediates."""
