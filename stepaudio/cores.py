"""How many cores the process may use."""

import os


def usable_cores() -> int:
    """Return the number of cores this process may run on, at least one."""
    if hasattr(os, "sched_getaffinity"):  # Linux; elsewhere a process may use them all
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1
