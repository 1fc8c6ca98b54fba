"""What is known of every tensor without data: inputs, samples, moments and tails."""
