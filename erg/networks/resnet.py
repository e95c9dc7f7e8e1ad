"""A wide residual network without normalisation layers, with optional self-attention."""

import math

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

from erg.networks.bounded import squash
from erg.networks.layers import Activation, check_image, check_sizes, convolution, linear


class WideResNet(nn.Module):
    r"""Stages of pre-activation residual blocks; average pooling halves the image between stages.

    Instead of normalising, each of the n residual branches is scaled: :math:`x + f(x) / \sqrt n`, so that
    the variance at the start does not grow with depth.

    Args:
        shape: (channels, height, width) of an image.
        channels: Channels before widening, one number per stage.
        widen: Factor on all channels.
        blocks: Residual blocks per stage.
        attention: Put one self-attention layer before the last stage, where pixels are few.
        activation: A module class or factory.
        spectral: Give every layer spectral norm 1.
        bound: b, to squash the energy into [-b, b].

    Raises:
        ValueError: If `shape` is not an image, if halving leaves less than 2 pixels per side, or a size is not
            positive.

    References:
        Zagoruyko & Komodakis (2016), Wide residual networks, arXiv:1605.07146
        Grathwohl et al. (2020), Your classifier is secretly an energy based model, arXiv:1912.03263

    Example:
        >>> import torch
        >>> WideResNet((3, 16, 16), channels=(8, 16), widen=1)(torch.zeros(5, 3, 16, 16)).shape
        torch.Size([5])
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        channels: tuple[int, ...] = (16, 32, 64),
        widen: int = 2,
        blocks: int = 2,
        attention: bool = False,
        activation: Activation = nn.SiLU,
        spectral: bool = False,
        bound: float | None = None,
    ) -> None:
        super().__init__()
        check_sizes("channels", channels, of=WideResNet)
        check_sizes("widening factors and block counts", (widen, blocks), of=WideResNet)
        inputs, _, _ = check_image(shape, 2 ** len(channels), of=WideResNet)
        widths = [widen * width for width in channels]
        scale = 1 / math.sqrt(blocks * len(channels) + attention)
        layers: list[nn.Module] = [convolution(inputs, widths[0], 3, padding=1, spectral=spectral)]
        inputs = widths[0]
        for stage, outputs in enumerate(widths):
            if stage > 0:
                layers.append(nn.AvgPool2d(2))
            if attention and stage == len(widths) - 1:
                layers.append(_Residual(_Attention(inputs, spectral=spectral), nn.Identity(), scale))
            for _ in range(blocks):
                layers.append(_block(inputs, outputs, activation, scale, spectral=spectral))
                inputs = outputs
        self.layers = nn.Sequential(*layers, activation())
        self.head = linear(inputs, 1, spectral=spectral)
        self.squash = squash(bound)

    def forward(self, x: Float[Tensor, "batch channels height width"]) -> Float[Tensor, " batch"]:
        """Energies of a batch of images."""
        return self.squash(self.head(self.layers(x).mean((2, 3))).squeeze(1))


class _Residual(nn.Module):
    def __init__(self, branch: nn.Module, skip: nn.Module, scale: float) -> None:
        super().__init__()
        self.branch, self.skip, self.scale = branch, skip, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.scale * self.branch(x)


class _Attention(nn.Module):
    """One head over all pixels. Keys are pooled 2x2, which quarters the cost.

    The softmax is written out because the fused attention has no second derivative, which gradient
    penalties and score matching need.

    References:
        Zhang et al. (2019), Self-attention generative adversarial networks, arXiv:1805.08318
    """

    def __init__(self, channels: int, *, spectral: bool) -> None:
        super().__init__()
        self.inner = max(channels // 2, 1)
        self.query = convolution(channels, self.inner, 1, padding=0, spectral=spectral)
        self.key_value = convolution(channels, 2 * self.inner, 1, padding=0, spectral=spectral)
        self.out = convolution(self.inner, channels, 1, padding=0, spectral=spectral)

    def forward(self, x: Tensor) -> Tensor:
        query = self.query(x).flatten(2)
        key, value = avg_pool2d(self.key_value(x), 2).flatten(2).chunk(2, dim=1)
        weights = (query.transpose(1, 2) @ key / math.sqrt(self.inner)).softmax(-1)
        attended = value @ weights.transpose(1, 2)
        return self.out(attended.unflatten(2, x.shape[2:]))


def _block(inputs: int, outputs: int, activation: Activation, scale: float, *, spectral: bool) -> nn.Module:
    branch = nn.Sequential(
        activation(),
        convolution(inputs, outputs, 3, padding=1, spectral=spectral),
        activation(),
        convolution(outputs, outputs, 3, padding=1, spectral=spectral),
    )
    same = inputs == outputs
    return _Residual(
        branch, nn.Identity() if same else convolution(inputs, outputs, 1, padding=0, spectral=spectral), scale
    )
