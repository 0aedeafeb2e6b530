"""Numbers that callers set: of the right type and large enough, or one clear error.

Knows nothing of what they are for.
"""

from __future__ import annotations

import operator
from numbers import Real

from capcli.errors import UsageError


def whole_number(name: str, value: object, least: int = 1) -> int:
    """A whole number of any type that has such numbers (NumPy's too), as an int.

    Raises:
        TypeError: it is something else: "3", 3.0, True, None.
        UsageError: it is below `least`.
    """
    wrong = TypeError(f"{name} must be a whole number, not {value!r}")
    if isinstance(value, bool):
        raise wrong
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise wrong from None
    if number < least:
        raise UsageError(f"{name} must be at least {least}, not {number}")
    return number


def number_between(name: str, value: object, low: float, high: float) -> float:
    """A number of any real type, as a float.

    Raises:
        TypeError: it is something else: "0.7", True, None.
        UsageError: it is not from `low` to `high`, or no number (NaN).
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    number = float(value)
    if not low <= number <= high:
        raise UsageError(f"{name} must be from {low:g} to {high:g}, not {number:g}")
    return number
