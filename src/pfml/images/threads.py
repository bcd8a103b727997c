"""map() on threads, in order, with only a few inputs and results in memory."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor


def default_threads() -> int:
    """One per processor that this process may use, at most 8."""
    return min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1, 8)


def ordered(function: Callable, inputs: Iterable, threads: int | None = None) -> Iterator:
    """map(function, inputs) on threads, in order, with at most two inputs per thread in memory.

    The calling thread draws the inputs one after the other, since archives cannot be read from several threads. Closing
    the iterator, or an exception in `function`, cancels the calls that have not begun and waits for the others.
    """
    threads = threads or default_threads()
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque = deque()
        try:
            for one in inputs:
                waiting.append(pool.submit(function, one))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
