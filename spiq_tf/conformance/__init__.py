"""What a target asks of a file: the rules, each one function, and `spiq_tf.check`."""
