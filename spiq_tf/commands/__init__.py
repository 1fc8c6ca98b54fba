"""The command line: `spiq-tf convert`, `check`, `verify` and `benchmark`.

No module here imports Keras or TensorFlow when it is imported, so that wrong flags are answered at once.
"""
