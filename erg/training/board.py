"""Curves, pictures and histograms for TensorBoard.

`torch.utils.tensorboard.SummaryWriter` writes from a thread of its own: a kill loses what it holds,
and a full disk ends in that thread's traceback. Here every record is written before the call returns.
"""

import os
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from erg.errors import UserError

_BINS = 64


class Board:
    """Writes one event file of a TensorBoard folder.

    Args:
        folder: The TensorBoard folder; made if need be.
        resume_step: The step from which a resumed run goes on: TensorBoard forgets later ones.

    Raises:
        UserError: If the folder cannot be written.
    """

    def __init__(self, folder: Path, *, resume_step: int | None = None) -> None:
        # Imported here because they are slow.
        from tensorboard.compat.proto import event_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter
        from torch.utils.tensorboard import summary

        self._protocol, self._summary = event_pb2, summary
        now = time.time_ns()
        name = f"events.out.tfevents.{now // 10**9:010d}.{socket.gethostname()}.{os.getpid()}.{now}"
        self._path = folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("xb", buffering=0)
        except OSError as error:
            raise UserError(f"Cannot write {self._path}: {error.strerror}.") from error
        self._records = RecordWriter(self._file)
        self._write(0, file_version="brain.Event:2")
        if resume_step is not None:
            started = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._write(resume_step + 1, session_log=started)

    def scalar(self, step: int, name: str, value: float) -> None:
        """A point of a curve."""
        self._write(step, summary=self._summary.scalar(name, value))

    def picture(self, step: int, name: str, picture: UInt8[np.ndarray, "rows columns colours"]) -> None:
        """A picture of 1 or 3 colours."""
        self._write(step, summary=self._summary.image(name, picture, dataformats="HWC"))

    def histogram(self, step: int, name: str, values: Float[np.ndarray, " n"]) -> None:
        """A histogram of finite values."""
        self._write(step, summary=self._summary.histogram(name, values, bins=_BINS))

    def text(self, step: int, name: str, text: str) -> None:
        """A note."""
        self._write(step, summary=self._summary.text(name, text))

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _write(self, step: int, **content: Any) -> None:
        event = self._protocol.Event(wall_time=time.time(), step=step, **content)
        try:
            self._records.write(event.SerializeToString())
        except OSError as error:
            raise UserError(f"Cannot write {self._path}: {error.strerror}.") from error
