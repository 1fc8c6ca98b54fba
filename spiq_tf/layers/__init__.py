"""Keras layers and operations as chains of primitives; one file a family, one table."""
