"""`LayerGraph`: layer calls, the primitives that they expand into, and facts that follow from the structure alone."""
