"""Start the process of a stage, and turn its errors into one line and an exit code."""

import ctypes
import os
import signal
import sys
import warnings
from collections.abc import Callable

from pfml.settings import ConfigError

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt (malloc.h)
LARGEST = 32 * 2**20  # bytes; the highest MMAP_THRESHOLD that glibc accepts


def run_stage(main: Callable[[], None], data: bool = False) -> None:
    """Run a stage's main function. A bad configuration ends with one line on stderr and exit code 2.

    OMP_NUM_THREADS is 1 unless the environment sets it, so that `dvc exp run` and `make repro` compute the same.

    Args:
        data: the stage reads the user's files or the network. Their errors also become one line, with exit code 1.
            PFML_TRACEBACK=1 in the environment shows the traceback.
    """
    if data:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that half-made files are removed
        warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    keep_freed_memory()
    expected = (OSError, RuntimeError, ValueError) if data and not os.environ.get("PFML_TRACEBACK") else ()
    try:
        main()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except expected as error:
        print("error:", "\n".join([str(error), *getattr(error, "__notes__", ())]), file=sys.stderr)
        sys.exit(1)


def keep_freed_memory() -> bool:
    """Keep freed buffers of up to 32 MiB for the next request, instead of handing each back to the system.

    A training on the CPU needs the same activations in every step. With glibc's default settings the system clears new
    pages for most of them each time, which takes a sixth of a run on glyphs. Numbers do not change.

    Returns:
        whether it was possible; False if the C library is not glibc.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(MMAP_THRESHOLD, LARGEST) and mallopt(TRIM_THRESHOLD, 2**31 - 1))
