"""Stop between two updates, not within one."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Stop:
    """Whether the user asked to stop.

    Args:
        heard: Called at the first signal.
    """

    def __init__(self, heard: Callable[[], Any]) -> None:
        self.asked, self._heard = False, heard

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """A signal handler: the first signal is noted, the second interrupts at once."""
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        self._heard()


@contextmanager
def stoppable(heard: Callable[[], Any]) -> Iterator[Stop]:
    """Turn Ctrl-C and termination into a note while inside; outside of the main thread, leave them alone.

    Args:
        heard: Called when the first of them arrives.
    """
    stop = Stop(heard)
    try:
        former = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:
        former = {}
    try:
        yield stop
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
