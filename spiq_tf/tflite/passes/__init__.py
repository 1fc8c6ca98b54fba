"""Rewritings of the float file's operators, a module each; `order` lists them in their order."""
