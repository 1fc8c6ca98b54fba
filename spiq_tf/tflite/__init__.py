"""The TFLite file: lowering, passes, ranges, quantization parameters, weights, writing, in this order."""
