"""The int8 file: quantized operators, versions, types of inputs and outputs."""
