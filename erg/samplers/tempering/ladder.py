r"""Ladders of temperatures, and where their rungs should be.

The rejection rates of swaps between neighbours add up to a barrier :math:`\Lambda(T)` that hardly depends on the
rungs in between. A ladder whose rungs are equally far apart in :math:`\Lambda` has equal swap rates, which makes
round trips from the coldest to the hottest replica fastest; about :math:`2 \Lambda + 1` rungs are the best number.
"""

import itertools
import math
from collections.abc import Iterable, Sequence

from erg import rows


def ladder(hottest: float, rungs: int) -> tuple[float, ...]:
    """Temperatures from 1 to `hottest` in equal ratios: equal swap rates where the energy is quadratic.

    Raises:
        ValueError: If `hottest` is not above 1, or there are fewer than two rungs.

    Example:
        >>> ladder(100.0, 3)
        (1.0, 10.0, 100.0)
    """
    rows.numbers({"hottest": hottest}, of="ladder()")
    rows.whole("rungs", rungs, of="ladder()", least=2)
    if not 1 < hottest < math.inf:
        raise ValueError(f"ladder() goes from 1 to a higher temperature, but got hottest={hottest}.")
    return (1.0, *(hottest ** (rung / (rungs - 1)) for rung in range(1, rungs - 1)), float(hottest))


def rungs_of(temperatures: Iterable[float], *, of: str, strictly: bool) -> tuple[float, ...]:
    """The temperatures as a tuple of numbers.

    Raises:
        TypeError: If there is only one number.
        ValueError: If they do not start at 1.0 and ascend.
    """
    if not isinstance(temperatures, Iterable):
        raise TypeError(
            f"{of} needs a sequence of temperatures, but got {temperatures!r}; write for example ladder(100.0, 8)."
        )
    rungs = tuple(float(temperature) for temperature in temperatures)
    ascend = all(low < high if strictly else low <= high for low, high in itertools.pairwise(rungs))
    if len(rungs) < 2 or rungs[0] != 1.0 or not ascend or not rungs[-1] < math.inf:
        raise ValueError(
            f"{of} needs two temperatures or more that start at 1.0, the law to sample, and ascend, but got {rungs}; "
            "write for example ladder(100.0, 8)."
        )
    return rungs


def equalised(temperatures: Sequence[float], rejections: Sequence[float]) -> tuple[float, ...]:
    """The ladder between the same ends whose swaps will be rejected equally often.

    The logarithm of the temperature is interpolated monotonically as a function of the barrier.

    Args:
        temperatures: The ladder.
        rejections: The mean rejection probability of each pair of neighbours on it.

    References:
        Syed, Bouchard-Côté, Deligiannidis & Doucet (2021), Non-reversible parallel tempering: a scalable highly
        parallel MCMC scheme, arXiv:1905.02939, Algorithm 2
        Fritsch & Carlson (1980), Monotone piecewise cubic interpolation, doi:10.1137/0717021

    Example:
        >>> equalised((1.0, 2.0, 16.0), (0.1, 0.5))[1] > 3
        True
    """
    import numpy as np
    from scipy.interpolate import PchipInterpolator

    # Two rungs without a barrier between them would leave the interpolation without a slope.
    barrier = np.cumsum([0.0, *np.maximum(rejections, 1e-3)])
    interpolated = PchipInterpolator(barrier, np.log(temperatures))
    middle = interpolated(np.linspace(0.0, barrier[-1], len(temperatures)))[1:-1]
    return (float(temperatures[0]), *np.exp(middle).tolist(), float(temperatures[-1]))
