"""The small strided convolutional network of the deep-energy tutorial."""

from jaxtyping import Float
from torch import Tensor, nn

from erg.networks.bounded import squash
from erg.networks.layers import Activation, check_image, check_sizes, convolution, linear

SMALLEST = 4


class ConvNet(nn.Module):
    """A 5x5 convolution, then 3x3 ones, then two linear layers.

    With its stride of 2, the first layer has a margin of 4, so that it sees every border pixel from all sides,
    and turns 28x28 into 16x16. With a stride of 1 it keeps the size: for small images, where a pixel is a large
    part of a stroke. Each 3x3 stage halves the map, rounding up, while it is at least 4x4, and keeps it from then
    on: 28x28 becomes 16, 8, 4, 2 as in the tutorial, 32x32 becomes 18, 9, 5, 3, and 8x8 becomes 6, 3, 3, 3.

    Args:
        shape: (channels, height, width) of an image.
        channels: Output channels, one number per stage; the first is the 5x5 one.
        hidden: Width of the head.
        first_stride: 1 or 2, of the 5x5 convolution.
        activation: A module class or factory, used after every layer but the last.
        spectral: Give every layer spectral norm 1.
        bound: b, to squash the energy into [-b, b].

    Raises:
        ValueError: If `shape` is not an image of at least 4x4 pixels, a size is not positive, or
            `first_stride` is neither 1 nor 2.

    References:
        Lippe (2022), UvA Deep Learning tutorial 8: Deep energy-based generative models

    Example:
        >>> import torch
        >>> ConvNet((1, 28, 28))(torch.zeros(5, 1, 28, 28)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        channels: tuple[int, ...] = (16, 32, 64, 64),
        hidden: int = 64,
        first_stride: int = 2,
        activation: Activation = nn.SiLU,
        spectral: bool = False,
        bound: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes("channels", channels, of=ConvNet)
        check_sizes("hidden widths", (hidden,), of=ConvNet)
        inputs, height, width = check_image(shape, SMALLEST, of=ConvNet)
        if first_stride not in (1, 2):
            raise ValueError(f"ConvNet needs a first_stride of 1 or 2, but got {first_stride}.")
        margin = 2 * first_stride
        stages: list[nn.Module] = [
            convolution(inputs, channels[0], 5, stride=first_stride, padding=margin, spectral=spectral),
            activation(),
        ]
        height, width = ((side + 2 * margin - 5) // first_stride + 1 for side in (height, width))
        inputs = channels[0]
        for outputs in channels[1:]:
            stride = 2 if min(height, width) >= 4 else 1
            stages += [convolution(inputs, outputs, 3, stride=stride, padding=1, spectral=spectral), activation()]
            inputs, height, width = outputs, -(-height // stride), -(-width // stride)
        self.stages = nn.Sequential(*stages)
        self.head = nn.Sequential(
            nn.Flatten(),
            linear(inputs * height * width, hidden, spectral=spectral),
            activation(),
            linear(hidden, 1, spectral=spectral),
        )
        self.squash = squash(bound)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, " batch"]:
        """Energies of a batch of images."""
        return self.squash(self.head(self.stages(x)).squeeze(1))
