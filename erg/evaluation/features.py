"""The small digit classifiers whose features the distances use, shipped with the package.

A Frechet distance is a figure only together with the network whose features it was taken in. Here
that network is a file of the package, under 600 KB, and its SHA-256 is computed from the very bytes
that were loaded; it is printed beside every figure. There is one for 8x8 and one for 28x28 digits,
trained by ``python -m benchmarks.train_features`` on training images only.

Both saw pictures that are not digits (noise, shuffled pixels, flat grey) and were asked to answer
"any class, equally" there. So their confidence says whether a picture is a digit, which that of an
ordinary classifier does not: those call uniform noise an 8 with certainty.
"""

import hashlib
from collections.abc import Callable
from functools import cache
from importlib.resources import files

import torch
from jaxtyping import Float
from torch import Tensor, nn

CLASSES = 10
FEATURES = 64
RAW_FEATURES = 192
SURE = 0.9
CHUNK = 1000
NAMES: dict[tuple[int, ...], str] = {(1, 8, 8): "digits_8x8", (1, 28, 28): "digits_28x28"}


class DigitNetwork(nn.Module):
    """Three convolutions, 64 features, 10 logits; no batch statistics, so rows are independent.

    Features are divided by one number, `unit`, their root mean square on the training images: distances
    then have the same scale for every classifier.

    Args:
        side: Height and width of the images, 8 or more.
    """

    unit: Tensor

    def __init__(self, side: int) -> None:
        super().__init__()
        stride = 2 if side > 16 else 1
        end = -(-side // (4 * stride))
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, stride=stride, padding=1),
            nn.SiLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Conv2d(32, 64, 3, stride=2, padding=1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(64 * end * end, FEATURES),
            nn.SiLU(),
        )
        self.head = nn.Linear(FEATURES, CLASSES)
        self.register_buffer("unit", torch.ones(()))

    def forward(self, x: Float[Tensor, "batch 1 side side"]) -> Float[Tensor, "batch 10"]:
        """Logits."""
        return self.head(self.body(x))

    def features(self, x: Float[Tensor, "batch 1 side side"]) -> Float[Tensor, "batch 64"]:
        """The activations below the logits, in units."""
        return self.body(x) / self.unit


class DigitClassifier:
    """Judges pictures of digits: features for distances, class probabilities for coverage.

    Runs on the CPU in chunks, without gradients, whatever the device of the pictures.

    Attributes:
        name: Which of the shipped classifiers this is.
        sha256: Of the file that holds its weights.
        shape: The event shape it looks at.
    """

    def __init__(self, name: str, shape: tuple[int, ...], content: bytes) -> None:
        from safetensors.torch import load

        self.name = name
        self.shape = shape
        self.sha256 = hashlib.sha256(content).hexdigest()
        # On the meta device nothing is initialised, so nothing is drawn from the caller's random numbers.
        with torch.device("meta"):
            self._network = DigitNetwork(shape[-1])
        self._network.load_state_dict(load(content), assign=True)
        self._network.eval().requires_grad_(False)

    def features(self, x: Float[Tensor, "batch 1 side side"]) -> Float[Tensor, "batch 64"]:
        """The activations of the penultimate layer.

        Raises:
            ValueError: If `x` is not of this classifier's shape.
        """
        return self._in_chunks(self._network.features, x)

    def probabilities(self, x: Float[Tensor, "batch 1 side side"]) -> Float[Tensor, "batch 10"]:
        """Class probabilities; near 1/10 each where the picture is no digit.

        Raises:
            ValueError: If `x` is not of this classifier's shape.
        """
        return self._in_chunks(self._network, x).softmax(1)

    def _in_chunks(self, function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
        if tuple(x.shape[1:]) != self.shape:
            raise ValueError(
                f"The classifier {self.name} looks at pictures of shape {self.shape}, but got "
                f"{tuple(x.shape[1:])}; ask classifier_for(shape) for the one that fits."
            )
        with torch.no_grad():
            chunks = [function(chunk.detach().to("cpu", torch.float32)) for chunk in x.split(CHUNK)]
        return torch.cat(chunks)


@cache
def classifier_for(shape: tuple[int, ...]) -> DigitClassifier | None:
    """The shipped classifier for pictures of an event shape, or None when there is none.

    Example:
        >>> classifier_for((1, 8, 8)).name
        'digits_8x8'
        >>> classifier_for((3, 32, 32)) is None
        True
    """
    name = NAMES.get(shape)
    if name is None:
        return None
    content = files("erg.evaluation").joinpath(f"{name}.safetensors").read_bytes()
    return DigitClassifier(name, shape, content)


def recognises(classifier: DigitClassifier, x: Float[Tensor, "batch 1 side side"]) -> bool:
    """Whether pictures are digits to this classifier: its mean confidence is at least 0.9.

    Letters or clothes of the same size are not, and features of digits would say little about them.
    """
    return bool(classifier.probabilities(x).amax(1).mean() >= SURE)


def raw_features(x: Float[Tensor, "batch *event"]) -> Float[Tensor, "batch features"] | None:
    """The entries themselves, of images averaged down to at most 8x8; None when there are more than 192.

    For data that no shipped classifier knows. Distances in them are in the units of the data.
    """
    if x.ndim == 4:
        x = nn.functional.adaptive_avg_pool2d(x, (min(8, x.shape[-2]), min(8, x.shape[-1])))
    flat = x.reshape(len(x), -1)
    return flat if flat.shape[1] <= RAW_FEATURES else None
