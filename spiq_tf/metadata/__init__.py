"""TFLite Metadata: what the file says of itself, and how that is packed."""
