"""Cores and memory of this machine, and how processes share them."""

import os
from pathlib import Path

GIB = 1 << 30

_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Memory of the machine, or of the container (cgroup v2) where that is less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _GROUP_LIMIT.read_text().strip() if _GROUP_LIMIT.exists() else "max"
    return whole if limit == "max" else min(whole, int(limit))


def single_thread_environment() -> dict[str, str]:
    """Environment of processes in which TensorFlow and the libraries under NumPy and SciPy run one thread.

    Variables that the user has set stay. Float sums depend on the number of threads, so the bytes of a file would
    depend on the number of processes; and conversions are no faster with two threads than with one.
    """
    names = "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"
    return {name: "1" for name in names if name not in os.environ}
