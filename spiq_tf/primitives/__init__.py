"""The primitive operations that every layer is expanded into, one file a family.

All that is known about a primitive stands in its class: how moments and ranges pass, which channels share a
scale, and how it absorbs the scales of its input and its output.
"""
