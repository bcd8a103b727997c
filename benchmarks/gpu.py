"""Nine minutes on a GPU: everything that this project claims of one, measured once (docs/gpu.md).

Each part of benchmarks/gpu_parts.py runs in a process of its own with a limit of its own, all within --minutes. Each
result is on disk the moment it is measured, in gpu.jsonl; gpu.md beside it has them as tables. A part that fails or is
stopped keeps what it has written, and the others go on. A stop at any moment leaves both files whole.

    python benchmarks/gpu.py                                    # measures, and writes reports/benchmarks.md
    python3 benchmarks/gpu.py --bundle gpu/bundle --out DIR     # where nothing is installed but torch; writes to DIR
    python benchmarks/gpu.py --record DIR                       # DIR/gpu.jsonl into reports/benchmarks.md
    python benchmarks/gpu.py --miniature                        # the whole path in tiny sizes, on a CPU

Without a GPU it runs the miniature, whose numbers are never recorded.
"""

import argparse
import contextlib
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from gpu_report import markdown, section, title
from gpu_results import NAME, append, chosen, commit, read

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {  # seconds of a part; the last has what is left
    "machine": 60, "tests": 110, "loss": 90, "rate": 75, "retrieval": 45, "bits": 45, "check": 3600,
}  # fmt: skip
SPARE = 3  # seconds before the end in which nothing runs any more
NEEDED = ("pydantic", "pytest", "pytest_timeout", "hypothesis", "pytorch_metric_learning")
LINES = 15  # of an error


class Stopped(Exception):
    """SIGTERM or SIGINT."""


def install(bundle: Path | None, folder: Path) -> str | None:
    """Put the bundle's wheels into `folder` if a package is missing here. Returns what went wrong."""
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    wheels = sorted((bundle / "wheels").glob("*.whl")) if bundle else []
    if not missing:
        return None
    if not wheels:
        return f"missing here: {', '.join(missing)}; expected wheels in a bundle (make gpu-bundle)"
    command = ["-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(folder), *map(str, wheels)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if done.returncode:  # no pip, say: a wheel is a zip of what it installs
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as files:
                files.extractall(folder)
        return f"pip failed, wheels unpacked instead: {last_lines(done.stderr)}"
    return None


def run_part(
    part: str, results: Path, until: float, patience: int, arguments: list[str], environment: dict, show
) -> None:
    """Start a part, wait for its end or its limit times `patience` (any CPU may be slow), and write how it ended."""
    started, limit = time.time(), min(until, time.time() + patience * LIMITS[part])
    command = [sys.executable, "-u", str(ROOT / "benchmarks/gpu_parts.py"), part, "--results", str(results)]
    command += ["--until", str(limit), "--parent", str(os.getpid()), *arguments]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            while process.poll() is None and time.time() < limit:
                time.sleep(0.2)
                show()
            code = process.poll()
        finally:
            end(process)
        said.seek(0)
        text = said.read()
    with open(results.with_name("gpu.log"), "a") as log:
        log.write(f"--- {part}\n{text[-500_000:]}\n")
    outcome = "stopped at its limit" if code is None else "done" if code == 0 else "failed"
    error = last_lines(text) if outcome == "failed" else ""
    append(results, part, "end", outcome=outcome, seconds=round(time.time() - started, 1), code=code, error=error)
    print(f"{part}: {outcome} after {time.time() - started:.0f} s", flush=True)


def end(process: subprocess.Popen) -> None:
    """Kill the part with everything that it started."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def last_lines(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-LINES:])


def measure(out: Path, bundle: Path | None, minutes: float, miniature: bool, parts: list[str]) -> list[dict]:
    """Run the parts in order into `out`. Returns all results."""
    until = time.time() + 60 * minutes - SPARE
    out.mkdir(parents=True, exist_ok=True)
    results, written = out.resolve() / NAME, [-1]
    if results.exists():
        sys.exit(f"{results}: results of an earlier run; move them away, or give another folder to --out")

    def show() -> None:
        """Write gpu.md again if there is something new, whole or not at all."""
        size = results.stat().st_size if results.exists() else 0
        if size != written[0]:
            written[0] = size
            unfinished = results.with_name(".gpu.md")
            unfinished.write_text(markdown(read(results)))
            unfinished.rename(results.with_name("gpu.md"))

    def stop(number: int, _) -> None:
        raise Stopped(signal.Signals(number).name)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        try:
            problem = install(bundle, work / "packages")
            append(results, "run", "start", minutes=minutes, commit=commit(bundle), install=problem)
            path = [ROOT / "src", ROOT, work / "packages", *filter(None, [os.environ.get("PYTHONPATH")])]
            environment = os.environ | {
                "PYTHONPATH": os.pathsep.join(map(str, path)), "TRITON_CACHE_DIR": str(work / "triton"),
            }  # fmt: skip
            for part in ["machine", *(part for part in parts if part != "machine")]:
                show()
                if until - time.time() < 1:
                    append(results, part, "end", outcome="no time left", seconds=0, code=None, error="")
                    continue
                arguments = ["--work", str(work)] + (["--bundle", str(bundle.resolve())] if bundle else [])
                arguments += ["--miniature"] * miniature
                run_part(part, results, until, 3 if miniature else 1, arguments, environment, show)
                if part == "machine":
                    facts = chosen(read(results), "machine", "facts")
                    miniature = miniature or bool(facts and not facts[0]["gpu"])
                    append(results, "run", "size", miniature=miniature)
        except Stopped as stopped:
            append(results, "run", "stopped", signal=str(stopped))
            show()
            sys.exit(130)
        show()
    return read(results)


def record(results: list[dict], source: Path) -> None:
    """Write the section of reports/benchmarks.md. Exits if the results are a miniature's."""
    from record import record as write

    if not chosen(results, "run", "size") or chosen(results, "run", "size")[-1]["miniature"]:
        sys.exit(f"{source}: expected the results of a GPU, found a miniature or nothing; nothing was recorded")
    os.chdir(ROOT)
    write("On a GPU", section(results), title(results))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="folder of the results; nothing else is then written")
    parser.add_argument("--bundle", type=Path, help="folder of `make gpu-bundle` (default gpu/bundle, if it is there)")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--parts", nargs="+", choices=[*LIMITS], default=[*LIMITS], help="some of them, in this order")
    parser.add_argument("--miniature", action="store_true", help="tiny sizes on the CPU, about a minute")
    parser.add_argument("--record", type=Path, metavar="DIR", help="only write results of DIR into the report")
    options = parser.parse_args()
    if options.record:
        return record(read(options.record / NAME), options.record)
    if options.bundle and not options.bundle.is_dir():
        sys.exit(f"--bundle: expected a folder of `make gpu-bundle`, found nothing at {options.bundle}")
    usual = ROOT / "gpu/bundle"
    bundle = options.bundle or (usual if usual.is_dir() and not options.miniature else None)
    out = options.out or ROOT / "gpu/results" / time.strftime("%Y%m%d-%H%M%S")
    results = measure(out, bundle, options.minutes, options.miniature, options.parts)
    print(f"{out}/gpu.md and {NAME}")
    if not options.out and not chosen(results, "run", "size")[-1]["miniature"]:
        record(results, out)


if __name__ == "__main__":
    main()
