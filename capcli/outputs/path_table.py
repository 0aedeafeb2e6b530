"""Numbers by the keys of paths, for as many paths as there are: 23 to 46 bytes each, and 69 at most while it grows.

A dictionary takes 130 to 200: each key and number is an object there. Knows nothing of what the numbers mean.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from struct import Struct
from threading import Lock

# A key is a digest, all of which is compared: that any two of ten million paths have the same one has a chance of 1 in
# 20 billion, of a million 1 in 2 million million.
KEY_BYTES = 10
_parts: Callable[[bytes], tuple[int, int]] = Struct("<QH").unpack
# Numbers share their 64 bits with the key's second part.
NUMBER_BITS = 48
_NUMBER = (1 << NUMBER_BITS) - 1
_FEWEST_SLOTS = 1024
# Of ten slots as many are used at most: with more, looking for a free one takes long.
_MOST_OF_TEN = 7


class PathTable:
    """A hash table with open addressing, linear probing and two arrays. Nothing is ever taken out.

    Several threads may use it. Numbers are from 1 to 2 ** `NUMBER_BITS` - 1.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._count = 0
        self._make(_FEWEST_SLOTS)

    def __len__(self) -> int:
        return self._count

    def get(self, key: bytes) -> int:
        """A key's number; 0 where it has none."""
        head, rest = _parts(key)
        with self._lock:
            return self._numbers[self._slot_of(head, rest)] & _NUMBER

    def add(self, key: bytes, number: int) -> int:
        """Gives a key that has none its number; what it has stays.

        Returns:
            The number that it had; 0 where it had none.
        """
        head, rest = _parts(key)
        with self._lock:
            # As `_slot_of`: this is called for each row of a file.
            heads, numbers, last = self._heads, self._numbers, self._last
            slot = head & last
            while known := numbers[slot]:
                if heads[slot] == head and known >> NUMBER_BITS == rest:
                    return known & _NUMBER
                slot = (slot + 1) & last
            heads[slot], numbers[slot] = head, rest << NUMBER_BITS | number
            self._count += 1
            if self._count > self._most:
                self._grow(2 * len(heads))
            return 0

    def put(self, key: bytes, number: int) -> None:
        """Gives a key its number, in the place of any that it has."""
        if self.add(key, number):
            head, rest = _parts(key)
            with self._lock:
                self._numbers[self._slot_of(head, rest)] = rest << NUMBER_BITS | number

    def _slot_of(self, head: int, rest: int) -> int:
        """Where a key is, or would be."""
        heads, numbers, last = self._heads, self._numbers, self._last
        slot = head & last
        while (number := numbers[slot]) and (heads[slot] != head or number >> NUMBER_BITS != rest):
            slot = (slot + 1) & last
        return slot

    def make_room(self, paths: int) -> None:
        """Grows at once as far as so many paths, in all, will need; a guess only saves time."""
        with self._lock:
            slots = len(self._heads)
            while slots * _MOST_OF_TEN // 10 < paths:
                slots *= 2
            if slots > len(self._heads):
                self._grow(slots)

    def _make(self, slots: int) -> None:
        self._heads = array("Q", [0]) * slots
        self._numbers = array("Q", [0]) * slots
        self._last = slots - 1
        self._most = slots * _MOST_OF_TEN // 10

    def _grow(self, slots: int) -> None:
        before = zip(self._heads, self._numbers, strict=True)
        self._make(slots)
        heads, numbers, last = self._heads, self._numbers, self._last
        for head, number in before:
            if number:
                slot = head & last
                while numbers[slot]:
                    slot = (slot + 1) & last
                heads[slot], numbers[slot] = head, number
