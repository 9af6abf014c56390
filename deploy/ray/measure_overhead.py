#!/usr/bin/env python3
"""How much longer an archive takes by Ray than by `nullface batch` on the same machine, in one run:
both have the same films, options and number of films at once, and take turns. The start of Ray, which
an archive pays once, is told apart.

usage: measure_overhead.py NULLFACE FILM… [-- OPTION…]
"""

import pathlib
import subprocess
import sys
import tempfile
import time

import ray

import nullface_ray

ROUNDS = 3
AT_ONCE = 2


def main() -> int:
    words, options = sys.argv[1:], []
    if "--" in words:
        words, options = words[: words.index("--")], words[words.index("--") + 1 :]
    if len(words) < 2:
        sys.exit(__doc__)
    command, films = str(pathlib.Path(words[0]).resolve()), words[1:]
    begun = time.monotonic()
    ray.init(num_cpus=AT_ONCE, include_dashboard=False, log_to_driver=False)
    print(f"start of Ray: {time.monotonic() - begun:.1f} s")
    totals = [0.0, 0.0]
    with tempfile.TemporaryDirectory() as work:
        for turn in range(ROUNDS):
            begun = time.monotonic()
            alone = [command, "batch", *films, "-o", f"{work}/alone-{turn}", "--jobs", str(AT_ONCE), "-q", "--", *options]
            subprocess.run(alone, check=True)
            between = time.monotonic()
            nullface_ray.run(films, f"{work}/ray-{turn}", options, command)
            spent = between - begun, time.monotonic() - between
            totals = [total + seconds for total, seconds in zip(totals, spent)]
            print(f"turn {turn}: batch {spent[0]:.1f} s, Ray {spent[1]:.1f} s, ratio {spent[1] / spent[0]:.3f}")
    print(f"{len(films)} films: Ray takes {totals[1] / totals[0]:.3f} of what batch takes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
