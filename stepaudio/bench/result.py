"""What a bench suite measured."""

import os
import platform
import sys
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One measured quantity: all its samples, in `unit`."""

    name: str
    unit: str
    samples: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle sample, the figure to quote."""
        return median(self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The least and the greatest sample."""
        return min(self.samples), max(self.samples)


def machine() -> dict[str, Any]:
    """Return what a reader must know about this machine to compare figures."""
    return {
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
    }


def processor() -> str:
    """Return the processor's name as the system tells it."""
    try:
        with open("/proc/cpuinfo") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def peak_memory_mb() -> float:
    """Return this process's peak resident memory in MB (10^6 bytes); 0 where the system does not tell."""
    # On Linux getrusage starts from the parent's peak, so the process's own status is asked first.
    try:
        with open("/proc/self/status") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024 / 1e6
    except (OSError, StopIteration):
        pass
    try:
        import resource
    except ImportError:
        return 0.0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


@dataclass(frozen=True)
class BenchResult:
    """A suite's figures and the machine they hold for."""

    suite: str
    figures: tuple[Figure, ...]
    notes: tuple[str, ...] = ()
    machine: dict[str, Any] = field(default_factory=machine)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON: each figure with its median, minimum, maximum and samples."""
        return {
            "suite": self.suite,
            "machine": self.machine,
            "figures": {
                f.name: {**asdict(f), "median": f.median, "min": f.spread[0], "max": f.spread[1]}
                for f in self.figures
            },
            "notes": list(self.notes),
        }


def table(result: BenchResult) -> str:
    """Return the figures as a Markdown table."""
    m = result.machine
    lines = [
        f"{result.suite}: {m['processor']}, {m['cores']} cores, "
        f"{m['system']} {m['machine']}, Python {m['python']}",
        "",
        "| figure | median | min | max | unit | runs |",
        "|---|---|---|---|---|---|",
    ]
    for f in result.figures:
        low, high = f.spread
        lines.append(f"| {f.name} | {f.median:.3g} | {low:.3g} | {high:.3g} | {f.unit} | {len(f.samples)} |")
    return "\n".join([*lines, *(f"\n{note}" for note in result.notes)])
