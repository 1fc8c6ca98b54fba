"""One scale and zero point for each tensor of the file."""
