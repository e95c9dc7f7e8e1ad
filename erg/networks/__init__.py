"""Bodies: plain modules that map a batch of events of a given shape to one number per row.

None uses batch statistics, so a row's energy never depends on the other rows, and the default
activation is smooth, so that gradients in x, and gradients of those, are continuous.
"""

from collections.abc import Callable

from torch import nn

from erg.networks.bounded import Bounded
from erg.networks.conv import ConvNet
from erg.networks.mlp import MLP
from erg.networks.resnet import WideResNet

Body = Callable[[tuple[int, ...]], nn.Module]
"""What is left of a body when only the event shape is missing: how a recipe names one."""

__all__ = ["MLP", "Body", "Bounded", "ConvNet", "WideResNet"]
