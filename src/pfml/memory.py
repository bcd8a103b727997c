"""How a process of the pipeline deals with memory that it has freed."""

import ctypes

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt (malloc.h)
LARGEST = 32 * 2**20  # bytes; glibc takes no higher MMAP_THRESHOLD


def keep_freed_memory() -> bool:
    """Keep freed buffers of up to 32 MiB for the next request, instead of handing each back to the system.

    A training on the CPU asks for the same activations in every step; with glibc's own settings the system clears new
    pages for most of them each time, a sixth of a run on glyphs. Numbers do not change.

    Returns:
        whether the C library has this; False where it is not glibc, and nothing is changed.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, 2**31 - 1))
