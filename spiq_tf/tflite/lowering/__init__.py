"""From the rescaled model to a float flatbuffer, and which of its tensors is which layer's."""
