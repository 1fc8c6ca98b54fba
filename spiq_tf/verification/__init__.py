"""`spiq_tf.verify`: how good a finished file is, at its outputs and layer by layer, before it is shipped."""
