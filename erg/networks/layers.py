"""What the bodies share: layers that may be spectrally normalised, and the checks of their sizes."""

from collections.abc import Callable, Sequence

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

Activation = Callable[[], nn.Module]


def linear(inputs: int, outputs: int, *, spectral: bool) -> nn.Module:
    """A linear layer, of spectral norm 1 if asked for."""
    return _normalised(nn.Linear(inputs, outputs), spectral)


def convolution(inputs: int, outputs: int, size: int, *, stride: int = 1, padding: int, spectral: bool) -> nn.Module:
    """A square convolution. Normalised, its kernel read as a matrix (outputs, inputs * size^2) has norm 1.

    References:
        Miyato et al. (2018), Spectral normalization for generative adversarial networks, arXiv:1802.05957
    """
    return _normalised(nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding), spectral)


def check_sizes(name: str, sizes: Sequence[int], *, of: type) -> None:
    """Refuse an empty list of sizes, and sizes below 1.

    Raises:
        ValueError: If `sizes` is not one or more positive integers.
    """
    if not sizes or min(sizes) < 1:
        raise ValueError(f"{of.__name__} needs one or more positive {name}, but got {tuple(sizes)}.")


def check_image(shape: Sequence[int], smallest: int, *, of: type) -> tuple[int, int, int]:
    """(channels, height, width) of an image that is large enough.

    Raises:
        ValueError: If `shape` is not that of an image, or a side is below `smallest` pixels.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(
            f"{of.__name__} scores images, shape (channels, height, width), but got the event shape "
            f"{tuple(shape)}; use MLP for other events."
        )
    channels, height, width = shape
    if min(height, width) < smallest:
        raise ValueError(
            f"{of.__name__} needs images of at least {smallest} x {smallest} pixels, but got {height} x {width}; "
            "use MLP for smaller ones."
        )
    return channels, height, width


def _normalised(layer: nn.Module, spectral: bool) -> nn.Module:
    return spectral_norm(layer) if spectral else layer
