"""Choice of `every`, the distance between probed steps: by the length of `fit`, or by the clock."""

import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

# Timed before `every` is chosen: a probe after some plain steps, a few times. The very first plain
# step and the very first probe, in the second step, are traced and not timed.
PLAIN_PER_PROBE = 4
TIMED_PROBES = 5

# The default: often in short runs, seldom in long ones, and in between as often as makes enough
# probes. docs/cost.md says what that costs and what groups it finds.
OFTEN, SELDOM = 10, 50
ENOUGH_PROBES = 100


def every_by_length(steps: int | None, executed: int = 1) -> int:
    """Return how often to probe a run, by its length.

    Args:
        steps: Training steps; None if that is not known.
        executed: Steps per execution, which the number is a multiple of.

    Returns:
        `every`: about `steps / ENOUGH_PROBES`, at least `OFTEN` and at most `SELDOM`.
    """
    every = OFTEN if steps is None else min(SELDOM, max(OFTEN, steps // ENOUGH_PROBES))
    return executed * math.ceil(every / executed)


class OverheadClock:
    """Finds the smallest `every` that keeps probing below a fraction of plain training.

    Args:
        overhead: The fraction, such as 0.1.
        wait: Called after every timed step; returns when the step is really done.
        clock: Returns seconds since any fixed moment.
    """

    def __init__(
        self,
        overhead: float,
        wait: Callable[[], Any],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._overhead = overhead
        self._wait = wait
        self._clock = clock
        self._steps = 0
        self._seconds: dict[bool, list[float]] = {False: [], True: []}

    def probes_next(self) -> bool:
        """Return whether the next step is to be probed."""
        steps = self._steps
        return steps == 1 or (steps > 0 and steps % (PLAIN_PER_PROBE + 1) == 0)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Time the step inside; used until `every` is known."""
        probes = self.probes_next()
        begun = self._clock()
        yield
        self._wait()
        if self._steps > 1:  # The first two steps are traced.
            self._seconds[probes].append(self._clock() - begun)
        self._steps += 1

    @property
    def every(self) -> int | None:
        """The number chosen; None until enough steps were timed."""
        if len(self._seconds[True]) < TIMED_PROBES:
            return None
        plain, probed = (statistics.median(self._seconds[kind]) for kind in (False, True))
        # One probe in k steps costs (probed - plain) / k more per step.
        return max(1, math.ceil((probed - plain) / (self._overhead * plain)))
