"""What a user sees of training: a bar and the numbers of the update, or lines where there is no terminal."""

import time
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text
from torch import Tensor

from erg.runs.experiment import Record

REFRESH = 0.25
LINES_EVERY = 10.0
WINDOW = 10.0
NUMBERS = {
    "data": ("energy/data", "+.3f"),
    "model": ("energy/model", "+.3f"),
    "gap": ("energy/gap", "+.3f"),
    "acceptance": ("chain/acceptance", ".2f"),
}


def display(name: str, total: int, console: Console) -> "Bar | Lines":
    """A bar on a terminal, lines elsewhere."""
    return (Bar if console.is_terminal and not console.is_dumb_terminal else Lines)(name, total, console)


class Speed:
    """Steps a second over the last few seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()

    def __call__(self, now: float, step: int) -> float:
        """Note a step, and say how fast it goes; 0 while nobody can know."""
        self._seen.append((now, step))
        while len(self._seen) > 2 and now - self._seen[1][0] > WINDOW:
            self._seen.popleft()
        then, first = self._seen[0]
        return (step - first) / (now - then) if now > then else 0.0


class Lines(AbstractContextManager):
    """A line now and then.

    Args:
        name: Of the run.
        total: Updates in all.
        console: Where it is printed.
    """

    def __init__(self, name: str, total: int, console: Console) -> None:
        self.name, self.total, self.console = name, total, console
        self._speed, self._shown = Speed(), float("-inf")

    def __exit__(self, *_: Any) -> None:
        return None

    def show(self, record: Record) -> None:
        """Print the numbers of an update, if it is time."""
        now = time.monotonic()
        if now - self._shown > LINES_EVERY or record.step == self.total:
            numbers = described(record.terms, self._speed(now, record.step))
            self.console.print(f"{self.name} {record.step}/{self.total}  {numbers}", soft_wrap=True, highlight=False)
            self._shown = now


class Bar(AbstractContextManager):
    """A progress bar with the numbers of the update below it: both fit into 80 columns.

    Args:
        name: Of the run.
        total: Updates in all.
        console: The terminal.
    """

    def __init__(self, name: str, total: int, console: Console) -> None:
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
        )
        self._progress = Progress(*columns, console=console, expand=True)
        self._task = self._progress.add_task(name, total=total)
        self._numbers = Text(no_wrap=True, overflow="ellipsis")
        self._live = Live(Group(self._progress, self._numbers), console=console)
        self._speed, self._shown = Speed(), float("-inf")
        self.total = total

    def __enter__(self) -> "Bar":
        self._live.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._live.stop()

    def show(self, record: Record) -> None:
        """Move the bar and renew the numbers, if it is time."""
        now = time.monotonic()
        if now - self._shown > REFRESH or record.step == self.total:
            self._progress.update(self._task, completed=record.step)
            self._numbers.plain = described(record.terms, self._speed(now, record.step))
            self._shown = now


def described(terms: Mapping[str, Tensor], speed: float) -> str:
    """The numbers of an update in one line of at most 80 columns, for energies below a thousand."""
    parts = []
    for label, (ending, form) in NUMBERS.items():
        found = next((value for name, value in terms.items() if name.endswith(ending)), None)
        if found is not None:
            parts.append(f"{label} {float(found):{form}}")
    if speed:
        parts.append(f"{speed:.1f} steps/s")
    return "  ".join(parts)
