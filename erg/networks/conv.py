"""The small strided convolutional network of the deep-energy tutorial."""

from jaxtyping import Float
from torch import Tensor, nn

from erg.networks.bounded import squash
from erg.networks.layers import Activation, check_image, check_sizes, convolution, linear

SMALLEST = 4


class ConvNet(nn.Module):
    """A 5x5 convolution of stride 2 with a wide margin, then 3x3 ones, then two linear layers.

    The margin of 4 lets the first layer see every border pixel from all sides and turns 28x28 into
    16x16. Each 3x3 stage halves the map, rounding up, while it is at least 4x4, and keeps it from then
    on: 28x28 becomes 16, 8, 4, 2 as in the tutorial, 32x32 becomes 18, 9, 5, 3, and 8x8 becomes 6, 3, 3, 3.

    Args:
        shape: (channels, height, width) of an image.
        channels: Output channels, one number per stage; the first is the 5x5 one.
        hidden: Width of the head.
        activation: A module class or factory, used after every layer but the last.
        spectral: Give every layer spectral norm 1.
        bound: b, to squash the energy into [-b, b].

    Raises:
        ValueError: If `shape` is not an image of at least 4x4 pixels, or a size is not positive.

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
        activation: Activation = nn.SiLU,
        spectral: bool = False,
        bound: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes("channels", channels, of=ConvNet)
        check_sizes("hidden widths", (hidden,), of=ConvNet)
        inputs, height, width = check_image(shape, SMALLEST, of=ConvNet)
        stages: list[nn.Module] = [
            convolution(inputs, channels[0], 5, stride=2, padding=4, spectral=spectral),
            activation(),
        ]
        inputs, height, width = channels[0], (height + 3) // 2 + 1, (width + 3) // 2 + 1
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
