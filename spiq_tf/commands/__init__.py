"""The command line: `spiq-tf convert`, `spiq-tf check` and `spiq-tf verify`.

No module here imports Keras or TensorFlow when it is imported, so that wrong flags are answered at once.
"""
