"""What this machine has to share among processes."""

import os
from pathlib import Path

GIB = 1 << 30

_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What TensorFlow and the libraries under NumPy and SciPy read when they are imported."""

_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory_bytes() -> int:
    """Memory of the machine, or of the container (cgroup v2) where that is less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = _GROUP_LIMIT.read_text().strip() if _GROUP_LIMIT.exists() else "max"
    return whole if limit == "max" else min(whole, int(limit))


def thread_limits(workers: int) -> dict[str, str]:
    """Environment of workers that share the cores; what the user has set stays, and one worker alone has them all."""
    if workers == 1:
        return {}
    share = str(max(1, cores() // workers))
    return {name: share for name in _THREADS if name not in os.environ}
