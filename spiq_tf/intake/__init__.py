"""Whatever the user brings becomes a float32 Keras 3 graph of layers; the user's model is left as it is."""
