"""A least-recently-used cache with a budget in bytes, shared by all visitors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from threading import Lock
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """An object that reports the memory it holds."""

    @property
    def bytes(self) -> int:
        """Memory held (bytes)."""
        ...


Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value", bound=Sized)


class ByteCache(Generic[Key, Value]):
    """Keeps the most recently used values that fit in the budget."""

    def __init__(self, budget: int) -> None:
        """Start empty.

        Args:
            budget: Most memory for all values together (bytes).
        """
        self._budget = budget
        self._values: OrderedDict[Key, Value] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Key) -> Value | None:
        """The value of a key, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def put(self, key: Key, value: Value) -> None:
        """Store a value, and evict the least recently used ones until all fit in the budget."""
        with self._lock:
            self._values[key] = value
            self._values.move_to_end(key)
            while self._values and self.bytes > self._budget:
                self._values.popitem(last=False)

    def drop(self, key: Key) -> None:
        """Remove a value, if there is one."""
        with self._lock:
            self._values.pop(key, None)

    @property
    def bytes(self) -> int:
        """Memory of all values together (bytes)."""
        return sum(value.bytes for value in self._values.values())
