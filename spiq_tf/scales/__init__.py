"""A scale for each channel and a range for each tensor: of the least predicted noise, or as published."""
