"""Keras layers and operations as primitives: one rule a kind of layer."""
