"""Start and stop the process of a stage, and turn its errors into one line and an exit code."""

import ctypes
import os
import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pfml.settings import ConfigError

# With these every x86-64 processor with AVX2 computes the same bits. A library that finds AVX-512 takes other kernels,
# which sum in another order. Each is read when its library is loaded.
PORTABLE = {
    "ATEN_CPU_CAPABILITY": "avx2",  # PyTorch's own kernels
    "ONEDNN_MAX_CPU_ISA": "AVX2",  # its convolutions
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
    "MKL_CBWR": "COMPATIBLE",  # its matrix products
    "OPENBLAS_CORETYPE": "Haswell",  # matrix products of NumPy and SciPy
    "OPENBLAS_L2_SIZE": "256",  # KiB: the size of their blocks
    "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512_ICL AVX512_SPR",  # NumPy's exp, log, power, cbrt, ... in float64
    "FAISS_SIMD_LEVEL": "AVX2",
    "OMP_NUM_THREADS": "1",  # train.threads sets those of a training
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}
HOSTILE = ("NPY_ENABLE_CPU_FEATURES",)  # NumPy does not start with both
# Processes that start stages, by an argument of theirs.
PIPELINE = ("dvc", "pfml.launch", "pfml.launch.dvc", "pfml.launch.engines.node")

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # parameters of glibc's mallopt (malloc.h)
LARGEST = 32 * 2**20  # bytes; the highest MMAP_THRESHOLD that glibc accepts


def run_stage(main: Callable[[], None], data: bool = False) -> None:
    """Run a stage's main function. A bad configuration ends with one line on stderr and exit code 2.

    The environment is that of PORTABLE, whatever was inherited, so that every machine computes the same.

    Args:
        data: the stage reads the user's files or the network. Their errors also become one line, with exit code 1.
            PFML_TRACEBACK=1 in the environment shows the traceback.
    """
    if data:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an exception, so that half-made files are removed
        warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    for stream in (sys.stdout, sys.stderr):  # a locale without a letter of a message is no reason to stop
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    be_portable()
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


def be_portable() -> None:
    """Limit the libraries of this process to AVX2 and one thread. No effect on a library that is loaded already, on a
    GPU, and on processors other than x86-64.
    """
    for name in HOSTILE:
        os.environ.pop(name, None)
    os.environ.update(PORTABLE)


def use_all_instructions() -> None:
    """Undo `be_portable` for a training with train.portable false, except the number of threads.

    Raises:
        RuntimeError: NumPy or PyTorch is loaded already and has chosen its kernels.
    """
    if loaded := [name for name in ("numpy", "torch") if name in sys.modules]:
        raise RuntimeError(f"train.portable: false has no effect any more, since {loaded[0]} is loaded already")
    for name in PORTABLE:
        if not name.endswith("_NUM_THREADS"):
            del os.environ[name]


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


@contextmanager
def single_writer(folder: Path, name: str, stop: Callable[[], bool]) -> Iterator[None]:
    """A lock on a folder of unfinished work: a second process waits until the first has ended."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock")
    while True:
        try:
            lock.acquire(timeout=1)
            break
        except Timeout:
            print(f"{name}: waits for another process that does the same work", flush=True)
            if stop():
                sys.exit(130)
            time.sleep(4)
    try:
        yield
    finally:
        lock.release()


def stopper() -> Callable[[], bool]:
    """A function that says whether to stop: after SIGTERM or Ctrl-C (this call installs the handlers), or when the
    pipeline that started this process has died.

    If DVC alone is killed its stages run on, as do the processes of torchrun. Such an orphan would train beside the
    next `dvc repro`.
    """
    requests = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: requests.append(True))
    import psutil

    def pipeline(process: psutil.Process) -> bool:
        try:
            return any(Path(argument).name in PIPELINE for argument in process.cmdline())
        except psutil.Error:  # a process of another user
            return False

    above = psutil.Process().parents()
    parents = list(above) if "DVC_STAGE" in os.environ else []
    while parents and not pipeline(parents[-1]):  # processes above the pipeline (make, a terminal) may end
        parents.pop()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        parents = parents or above[:1]

    def alive(process: psutil.Process) -> bool:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE

    def stop() -> bool:
        if not requests and not all(alive(process) for process in parents):
            print("the pipeline that started this run is gone", file=sys.stderr)
            requests.append(True)
        return bool(requests)

    return stop
