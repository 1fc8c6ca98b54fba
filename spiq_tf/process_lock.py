"""The lock of all that a conversion changes in the whole process.

TensorFlow's converter and the quantizer print, log and warn through the process's streams and filters, which `silence`
replaces meanwhile; symbolic calls rename the layers of the user's model, which two threads may share; Keras's global
policy is set while a model is cast to float32. So `convert`, `quantize` and `rewrite` hold one lock, `verify` while it
reads the model: threads that call them at the same time wait for each other, and each gets what it would get alone.
Processes do not wait.
"""

import threading

PROCESS_LOCK = threading.RLock()
"""Reentrant, since what holds it is silenced inside."""
