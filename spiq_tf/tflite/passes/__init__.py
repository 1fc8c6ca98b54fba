"""Replacements of operators in the float flatbuffer."""
