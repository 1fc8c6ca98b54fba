"""What `spiq-tf benchmark` measures: a network's float file, TFLiteConverter's int8 file and ours, in turns."""
