"""Times of functions that take turns, so that whatever else the machine does meets all of them."""

import math
import time
from collections.abc import Callable, Sequence

RUNS_IN_A_TURN = 5
"""The first finds the caches full of another file's data, and its threads still waiting for work: with one run a turn a
float MobileNetV3Small takes 2.2 ms, with three 1.9, with five 1.8, as it does alone."""


def clock_for(threads: int) -> Callable[[], float]:
    """The clock, in seconds, by which functions of so many threads are timed.

    One thread runs in the caller's, whose own processor time counts: other programs do not lengthen it. On two cores
    that five processes use, ratios of two files of 11 ms vary from 0.77 to 1.41 by the time that passes, from 1.01 to
    1.03 by this one.
    """
    return time.thread_time if threads == 1 else time.perf_counter


def best_in_turns(functions: Sequence[Callable[[], object]], rounds: int, clock: Callable[[], float]) -> list[float]:
    """The shortest time of each function, in seconds.

    Args:
        functions: what takes turns; each is called once before any is timed.
        rounds: turns of each.
        clock: the time in seconds, see `clock_for`.
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
