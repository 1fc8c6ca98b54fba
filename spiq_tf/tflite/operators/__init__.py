"""What is known of the operators of a TFLite file: one row an operator, by family; `table` holds them all."""
