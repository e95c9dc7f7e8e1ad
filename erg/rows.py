"""Row-wise arithmetic on batches of any event shape: the first axis is the chain, the rest is one event."""

from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real

from jaxtyping import Bool, Float, Shaped
from torch import Tensor


def total(x: Float[Tensor, "batch *event"]) -> Float[Tensor, " batch"]:
    """The sum over each row's event. A zero-dimensional event is its own sum."""
    return x.flatten(1).sum(1) if x.ndim > 1 else x


def flat(x: Shaped[Tensor, "batch *event"]) -> Shaped[Tensor, "batch entries"]:
    """Each row's entries in one line. A zero-dimensional event has one entry."""
    return x.flatten(1) if x.ndim > 1 else x[:, None]


def every(x: Bool[Tensor, "batch *event"]) -> Bool[Tensor, " batch"]:
    """Whether all of each row's entries are true."""
    return x.flatten(1).all(1) if x.ndim > 1 else x


def finite(x: Float[Tensor, "batch *event"]) -> Bool[Tensor, " batch"]:
    """Which rows have finite entries only."""
    # Zero times infinity is NaN, and so is a sum with one: several times faster than asking each entry.
    return total(x * 0.0) == 0


def spread(weight: float | Tensor, x: Float[Tensor, "batch *event"]) -> float | Tensor:
    """A scalar as it is, or one weight per row, shaped to multiply `x` without changing its dtype.

    Raises:
        ValueError: If `weight` is neither a scalar nor of shape (batch,).
    """
    if not isinstance(weight, Tensor) or weight.ndim == 0:
        return weight
    if weight.shape != x.shape[:1]:
        raise ValueError(
            f"A weight is a scalar or one number per row, shape ({len(x)},), but got shape {tuple(weight.shape)}."
        )
    return weight.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))


def where(
    chosen: Bool[Tensor, " batch"], x: Float[Tensor, "batch *event"], other: Float[Tensor, "batch *event"]
) -> Float[Tensor, "batch *event"]:
    """Rows of `x` where chosen, of `other` elsewhere."""
    return x.where(chosen.reshape(-1, *[1] * (x.ndim - 1)), other)


def positive(name: str, value: float | Tensor, *, of: Callable[..., object]) -> None:
    """Refuse a step size or scale that is not a positive finite number (or a tensor of such).

    Raises:
        TypeError: If `value` is no number and no tensor.
        ValueError: If `value` is not positive and finite.
    """
    if not isinstance(value, Tensor | Real):
        raise TypeError(
            f"{of.__name__} needs a number or a tensor of them for {name}, but got {type(value).__name__}; "
            "torch.tensor(...) makes a tensor of a list."
        )
    good = bool(((value > 0) & value.isfinite()).all()) if isinstance(value, Tensor) else 0 < value < float("inf")
    if not good:
        raise ValueError(f"{of.__name__} needs a positive, finite {name}, but got {value}.")


def numbers(values: Mapping[str, float | Tensor], *, of: str) -> None:
    """Refuse settings, by their names, that are no numbers and no tensors.

    Raises:
        TypeError: With the first of them.
    """
    for name, value in values.items():
        if not isinstance(value, Tensor | Real):
            raise TypeError(f"{of} needs a number for {name}, but got {value!r}; pass a float.")


def whole(name: str, value: int, *, of: str, least: int = 1) -> None:
    """Refuse a count that is not a whole number, or too small.

    Raises:
        TypeError: If `value` is not an integer.
        ValueError: If `value` is below `least`.
    """
    if not isinstance(value, Integral) or isinstance(value, bool):
        raise TypeError(f"{of} needs a whole number for {name}, but got {value!r}; pass an int.")
    if value < least:
        raise ValueError(f"{of} needs {name} of at least {least}, but got {value}.")


def shape(event: Sequence[int], *, of: str) -> tuple[int, ...]:
    """The shape of one event as a tuple.

    Raises:
        TypeError: If `event` is no sequence of integers.
        ValueError: If a size is below 1.
    """
    if not isinstance(event, Sequence) or isinstance(event, str):
        hint = f"({event},)" if isinstance(event, Integral) else "(2,)"
        raise TypeError(f"{of} needs the shape of one event, but got {event!r}; write it as a tuple, such as {hint}.")
    for size in event:
        whole("every size of an event", size, of=of)
    return tuple(event)
