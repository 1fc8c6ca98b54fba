"""The primitive operations that every layer is expanded into, one module for each kind.

All that is known of a primitive stands in its class: its moments and distribution, its noise gains, which channels
share a scale, how it absorbs the scales of its inputs and output, and what it is for those who look for it in a graph.
"""
