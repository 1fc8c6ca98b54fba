"""Running a graph: the one executor of its layer calls."""
