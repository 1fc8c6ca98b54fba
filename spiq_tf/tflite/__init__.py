"""The TFLite side: reads and writes flatbuffers, and knows nothing of Keras layers but their names."""
