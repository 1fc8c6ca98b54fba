"""The scale of every channel and the range of every tensor: constraints, predicted noise, and the search."""
