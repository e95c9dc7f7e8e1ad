"""What the rows of a run are: written beside the weights, so that the energy can be used without its data."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from erg.data import Dataset, Scaling
from erg.errors import UserError
from erg.support import Binary, Box, Real, Spin, Support

_PLAIN: dict[str, Support] = {"Real": Real(), "Binary": Binary(), "Spin": Spin()}


@dataclass(frozen=True)
class Domain:
    """Shape, support and units of a run's rows.

    Args:
        shape: The event shape.
        support: Where one row lives.
        scaling: How a table was standardised.
        columns: What the columns of a table are called.
        threshold: The grey level in [0, 1] above which pixels are 1, of a run on `Binary`.
    """

    shape: tuple[int, ...]
    support: Support
    scaling: Scaling | None = None
    columns: tuple[str, ...] | None = None
    threshold: float | None = None

    @staticmethod
    def of(data: Dataset, *, threshold: float | None = None) -> "Domain":
        """The domain of a data set that was loaded with this threshold."""
        return Domain(data.shape, data.support, data.scaling, data.columns, threshold)

    @property
    def pictured(self) -> bool:
        """Whether rows are images that a grid can show."""
        return len(self.shape) == 3 and self.shape[0] in (1, 3)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        support, scaling = self.support, self.scaling
        return {
            "shape": list(self.shape),
            "support": type(support).__name__,
            "box": [support.low, support.high] if isinstance(support, Box) else None,
            "scaling": scaling and {"mean": scaling.mean.tolist(), "scale": scaling.scale.tolist()},
            "columns": self.columns and list(self.columns),
            "threshold": self.threshold,
        }

    @staticmethod
    def from_json(config: Mapping[str, Any]) -> "Domain":
        """Back from plain data.

        Raises:
            UserError: If something is missing, or of a kind that this version does not know.
        """
        try:
            kind, scaling, columns = config["support"], config["scaling"], config["columns"]
            if kind not in ("Box", *_PLAIN):
                raise ValueError(f"rows on {kind}")
            support: Support = Box(*config["box"]) if kind == "Box" else _PLAIN[kind]
            return Domain(
                tuple(int(size) for size in config["shape"]),
                support,
                scaling
                and Scaling(*(torch.tensor(scaling[name], dtype=torch.float64) for name in ("mean", "scale"))),
                columns and tuple(map(str, columns)),
                # Runs on grey pixels do not mention it.
                config.get("threshold"),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"energy.json does not say what the rows are ({type(error).__name__}: {error}); "
                "export the energy again with the erg that made it."
            ) from error
