"""Processor, cores and memory of this machine, and how processes share them."""

import os
import platform
from pathlib import Path

GIB = 1 << 30

_GROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_PROCESSOR = Path("/proc/cpuinfo")
_INT8_INSTRUCTIONS = ("asimddp", "i8mm", "avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8")


def cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processor() -> str:
    """The name of the processor, as far as the system says it, and those of its instructions that int8 kernels use."""
    lines = _PROCESSOR.read_text().splitlines() if _PROCESSOR.exists() else []
    facts = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    name = facts.get("model name") or platform.processor() or platform.machine()
    known = facts.get("flags", facts.get("Features", "")).split()
    instructions = [each for each in _INT8_INSTRUCTIONS if each in known]
    return f"{name} ({', '.join(instructions)})" if instructions else name


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
