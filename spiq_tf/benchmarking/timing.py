"""Times of functions that take turns, so that whatever else the machine does meets all of them."""

import math
import time
from collections.abc import Callable, Sequence

RUNS_IN_A_TURN = 5
"""The first finds the caches full of another file's data, and its threads still waiting for work: with one run a turn a
float MobileNetV3Small takes 2.2 ms, with three 1.9, with five 1.8, as it does alone."""


def best_in_turns(
    functions: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """The shortest time of each function, in seconds.

    Args:
        functions: what takes turns; each is called once before any is timed.
        rounds: turns of each.
        clock: the time in seconds.
    """
    for function in functions:
        function()
    best = [math.inf] * len(functions)
    for _ in range(rounds):
        for position, function in enumerate(functions):
            for _ in range(RUNS_IN_A_TURN):
                start = clock()
                function()
                best[position] = min(best[position], clock() - start)
    return best
