"""A model as `LayerGraph`: layer calls, and the primitives that they expand into."""
