"""What is known of the values of a channel: moments, tails, ranges, and where they come from."""
