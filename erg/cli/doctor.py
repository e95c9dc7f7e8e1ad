"""``erg doctor``: what is installed, what the machine has, what was found."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from erg.cli.options import Parser

PACKAGES = (
    *("torch", "numpy", "safetensors", "jaxtyping", "scikit-learn", "lightning-fabric", "jsonargparse"),
    *("torchmetrics", "arviz-stats", "matplotlib", "rich", "tensorboard"),
)
COMPROMISED = {"lightning-fabric": ("2.6.2", "2.6.3")}


def run(arguments: list[str]) -> int:
    """Print what is found; return 0, or 1 when something is missing, wrong or must not be used."""
    parser = Parser("doctor", "Show versions, devices, threads, the compiler and the data that were found.")
    parser.parse_args(arguments)
    import erg

    _line("erg", erg.__version__)
    _line("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}")
    faults = [fault for name in PACKAGES if (fault := _package(name))]
    if "torch" not in faults:
        _machine()
    fault = _data()
    faults += [fault] if fault else []
    for fault in faults:
        print(f"! {fault}")
    return 1 if faults else 0


def _package(name: str) -> str | None:
    try:
        found = version(name)
    except PackageNotFoundError:
        _line(name, "missing")
        return f"{name} is missing; install it with: pip install {name}"
    _line(name, found)
    if found in COMPROMISED.get(name, ()):
        return f"{name} {found} is a compromised release; install another version"
    return None


def _machine() -> None:
    import torch

    from erg.samplers.compilation.compiled import compiler_status

    devices = ["cpu"]
    devices += [f"cuda ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    devices += ["mps"] if torch.backends.mps.is_available() else []
    _line("devices", ", ".join(devices))
    _line("threads", f"{torch.get_num_threads()} of {os.cpu_count()} cores")
    _line("compiler", compiler_status())


def _data() -> str | None:
    from erg.data import available
    from erg.data.mnist import misdirection

    _line("ERG_DATA", os.environ.get("ERG_DATA", "not set"))
    for entry in available():
        _line(f"data: {entry.name}", entry.where if entry.found else f"not here ({entry.where})")
    fault = misdirection()
    return fault and f"{fault}; correct it, or unset it"


def _line(name: str, value: str) -> None:
    print(f"{name:<18} {value}")
