"""What is known of every tensor without data: moments, how far it reaches, what random fields show of it."""
