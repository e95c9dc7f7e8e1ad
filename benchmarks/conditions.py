"""Under which conditions a figure was measured: stands in every result file."""

import datetime
import os
import platform
from importlib.metadata import version
from typing import Any

import torch

PACKAGES = ("torch", "numpy", "scikit-learn")


def conditions() -> dict[str, Any]:
    """Date, versions, processor and threads, as plain data."""
    return {
        "date": datetime.date.today().isoformat(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
