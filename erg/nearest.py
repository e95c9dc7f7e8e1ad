"""The name that was meant."""

from collections.abc import Iterable


def hint(name: str, known: Iterable[str]) -> str:
    """``; did you mean 'digits'?`` when a known name is near, and nothing otherwise.

    Example:
        >>> hint("digist", ["digits", "mnist"])
        "; did you mean 'digits'?"
    """
    # Imported here so that the command line pays for it only when something is misspelt.
    from difflib import get_close_matches

    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
