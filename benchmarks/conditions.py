"""Under which conditions a figure was measured: stands in every result file."""

import datetime
import os
import platform
from importlib.metadata import version
from typing import Any

import torch

PACKAGES = ("erg", "torch", "numpy", "scikit-learn")


def conditions() -> dict[str, Any]:
    """Date, versions, processor and threads, as plain data."""
    return {
        "date": datetime.date.today().isoformat(),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }


def in_words(result: dict[str, Any]) -> str:
    """The command of a result and its conditions, in one sentence, as far as the result names them."""
    parts = [f"`{result['command']}`"] if "command" in result else []
    parts += [result["date"]]
    parts += [result["processor"]] if "processor" in result else []
    parts += [f"{result[unit]} {unit}" for unit in ("cores", "threads") if unit in result]
    parts += [f"seed {result['seed']}"] if "seed" in result else []
    parts += [f"{result['rounds']} rounds of {result['steps']} steps in turn"] if "rounds" in result else []
    versions = {**result["versions"], **result.get("peers", {})}
    return f"{', '.join(parts)}; {', '.join(f'{name} {number}' for name, number in versions.items())}."


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"
