"""`LayerGraph`: layer calls, the primitives that they expand into, and what the structure alone says of a tensor."""
