"""The TFLite side: lowers the rewritten model, then reads, changes and writes flatbuffers.

Of Keras layers only `lower`, `matching` and what replaces layers' operations while they are traced know more than
names.
"""
