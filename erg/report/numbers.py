"""Numbers as a reader wants them: as many digits as their error supports, a true minus sign, no noise."""

import math

MINUS = "\u2212"
THIN = "\u202f"


def number(value: float, digits: int = 4) -> str:
    """`value` to `digits` significant digits; very large and very small ones as a power of ten."""
    if math.isnan(value):
        return "not a number"
    if math.isinf(value):
        return f"{MINUS if value < 0 else ''}infinite"
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude >= 7 or magnitude < -4:
        return _scientific(value, min(digits, 3))
    if float(value).is_integer() and abs(value) < 1e7:
        return grouped(f"{value:.0f}")
    return grouped(_trimmed(f"{value:.{max(digits - 1 - magnitude, 0)}f}"))


def measured(value: float, standard_error: float | None) -> str:
    """A value and its standard error, rounded together: 0.932 ± 0.014, 0.94 ± 0.03.

    The error keeps two significant digits if the first is 1 or 2, else one.
    """
    if standard_error is None or not math.isfinite(standard_error) or not math.isfinite(value):
        return number(value)
    if standard_error <= 0:
        return f"{number(value)} ± 0"
    first, _, magnitude = f"{standard_error:.1e}".partition("e")
    decimals = (1 if float(first) < 3 else 0) - int(magnitude)
    largest = max(abs(value), standard_error)
    if decimals > 7 or largest >= 1e7:
        return f"{number(value)} ± {number(standard_error, 2)}"
    decimals = max(decimals, 0)
    return f"{grouped(f'{value:.{decimals}f}')} ± {grouped(f'{standard_error:.{decimals}f}')}"


def duration(seconds: float) -> str:
    """A length of time in the two largest units that say something: 1 h 05 min, 47 s, 0.8 s."""
    if not math.isfinite(seconds) or seconds < 0:
        return "unknown"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    days, hours, minutes = whole // 86400, whole // 3600 % 24, whole // 60 % 60
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes:02d} min"
    if minutes:
        return f"{minutes} min {whole % 60:02d} s"
    return f"{whole} s"


def short(value: float) -> str:
    """A tick label: 500, 1.5k, 20k, 3M."""
    if abs(value) >= 1e12 or 0 < abs(value) < 1e-4:
        return _scientific(value, 2)
    for scale, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= scale and (scale > 1e3 or abs(value) >= 1e4):
            return f"{value / scale:g}".replace("-", MINUS) + suffix
    return f"{value:g}".replace("-", MINUS)


def grouped(text: str) -> str:
    """Digits before the point in groups of three from five digits on, with a true minus sign."""
    sign, text = (MINUS, text[1:]) if text.startswith("-") else ("", text)
    whole, point, fraction = text.partition(".")
    if len(whole) > 4 and whole.isdigit():
        whole = f"{int(whole):,}".replace(",", THIN)
    return sign + whole + point + fraction


def plain(text: str) -> str:
    """Numbers in characters that every terminal and every reader of its output knows: -1234, 3e-9, <= 0.2."""
    return text.replace(" × 10", "e").replace("≤", "<=").replace("≥", ">=").translate(_PLAIN)


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text else text


_RAISED = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_PLAIN = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻" + MINUS, "0123456789--", THIN)


def _scientific(value: float, digits: int) -> str:
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    power = str(int(exponent)).translate(_RAISED)
    mantissa = _trimmed(mantissa).replace("-", MINUS)
    return f"{mantissa} × 10{power}"
