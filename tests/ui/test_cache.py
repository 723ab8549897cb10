"""A cache with a budget in bytes."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vitc_inspect.common.images import Picture
from vitc_inspect.ui.cache import ByteCache
from vitc_inspect.ui.pictures import StoredPicture


def test_the_cache_keeps_to_its_budget_and_drops_what_was_used_longest_ago() -> None:
    cache: ByteCache[str, StoredPicture] = ByteCache(3 * 100)
    small = StoredPicture(Picture(Image.new("RGB", (10, 4))))  # 120 bytes
    for name in ("a", "b"):
        cache.put(name, small)
    assert cache.get("a") is small
    cache.put("c", small)
    assert (cache.get("b"), cache.get("a"), cache.get("c")) == (None, small, small)
    assert cache.bytes <= 300
    cache.put("large", StoredPicture(Picture(Image.new("RGB", (100, 100)))))
    assert cache.bytes <= 300


@dataclass(frozen=True)
class Held:
    """A value of so many bytes."""

    bytes: int


@settings(deadline=None, derandomize=True, database=None)
@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 6), st.integers(0, 40)),
            st.tuples(st.sampled_from(("get", "drop")), st.integers(0, 6), st.just(0)),
        ),
        max_size=60,
    )
)
def test_what_is_kept_is_what_was_used_last_as_far_as_it_fits(
    steps: list[tuple[str, int, int]],
) -> None:
    """Held against a plain list, the value used last at its end."""
    budget = 100
    cache: ByteCache[int, Held] = ByteCache(budget)
    used: list[tuple[int, Held]] = []
    for step, key, size in steps:
        kept = dict(used)
        if step == "get":
            assert cache.get(key) is kept.get(key)
            if key in kept:
                used = [*(each for each in used if each[0] != key), (key, kept[key])]
        elif step == "drop":
            cache.drop(key)
            used = [each for each in used if each[0] != key]
        else:
            value = Held(size)
            cache.put(key, value)
            used = [*(each for each in used if each[0] != key), (key, value)]
            while sum(each.bytes for _, each in used) > budget:
                used.pop(0)
        assert cache.bytes == sum(each.bytes for _, each in used)
    assert [key for key in range(7) if cache.get(key)] == sorted(key for key, _ in used)


def test_a_value_put_again_counts_once_and_one_that_is_gone_may_be_dropped() -> None:
    cache: ByteCache[str, Held] = ByteCache(100)
    for size in (60, 70, 80):
        cache.put("a", Held(size))
    assert cache.bytes == 80
    cache.drop("a")
    cache.drop("a")
    assert (cache.bytes, cache.get("a")) == (0, None)


def test_visitors_may_use_it_at_once() -> None:
    cache: ByteCache[int, Held] = ByteCache(50)

    def visit(start: int) -> None:
        for n in range(500):
            cache.put((start + n) % 20, Held(10))
            cache.get(n % 20)
            cache.drop((start * n) % 20)

    with ThreadPoolExecutor(4) as pool:
        for visited in [pool.submit(visit, start) for start in range(4)]:
            visited.result()
    assert cache.bytes <= 50
