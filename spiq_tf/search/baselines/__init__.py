"""Methods as published (SPIQ, DFQ), which the default is compared with."""
