"""Numbers that callers set: of the right type and within their limits, or one clear error.

Knows nothing of what they are for.
"""

from __future__ import annotations

import operator
from numbers import Real

from capcli.errors import UsageError

# Far more than helps anybody: what is asked for beyond only fills the memory, or is more threads than systems start.
MOST_HYPOTHESES = 1000
LONGEST_CAPTION = 1000
MOST_THREADS = 1024
LARGEST_BATCH = 4096


def whole_number(name: str, value: object, least: int = 1, most: int | None = None) -> int:
    """A whole number of any type that has such numbers (NumPy's too), as an int.

    Raises:
        TypeError: it is something else: "3", 3.0, True, None.
        UsageError: it is below `least` or above `most`.
    """
    try:
        # NumPy's own bool counted as a whole number before NumPy 2.
        if isinstance(value, bool) or getattr(getattr(value, "dtype", None), "kind", None) == "b":
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise TypeError(f"{name} must be a whole number, not {value!r}") from None
    if number < least:
        raise UsageError(f"{name} must be at least {least}, not {_shown(number)}")
    if most is not None and number > most:
        raise UsageError(f"{name} must be at most {most}, not {_shown(number)}")
    return number


def _shown(number: int) -> str:
    # Python refuses to write numbers of thousands of digits.
    return str(number) if abs(number) < 10**20 else f"a number of {number.bit_length()} bits"


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
