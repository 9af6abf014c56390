#!/usr/bin/env python3
"""Two nodes on this machine, one killed while it makes a film: every film is complete, none is there
twice, and all equal the result of `nullface batch`; the secret is in no file that Ray or we wrote.

usage: test_two_nodes.py NULLFACE
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

import ray
from ray.cluster_utils import Cluster

import nullface_ray

FILMS = 6
OPTIONS = ["--mode", "blur", "--max-fallback-share", "1"]
SEED = "918273645546372819"


def main() -> int:
    command = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as text:
        work = pathlib.Path(text)
        (work / "in").mkdir()
        for i in range(FILMS):
            source = f"testsrc2=size={160 + 16 * i}x120:rate=25:duration=6"
            subprocess.run(
                ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, "-c:v", "libx264", str(work / "in" / f"{i}.mp4")],
                check=True,
            )
        subprocess.run([command, "batch", str(work / "in"), "-o", str(work / "alone"), "-q", "--", *OPTIONS], check=True)

        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
        doomed = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        killed = []

        def kill() -> None:
            # When both nodes are at work: two films are being written.
            until = time.monotonic() + 120
            while time.monotonic() < until:
                if len(list((work / "out").glob(".*.mp4.*.part"))) >= 2:
                    cluster.remove_node(doomed, allow_graceful=False)
                    killed.append(time.monotonic())
                    return
                time.sleep(0.02)

        killer = threading.Thread(target=kill)
        killer.start()
        report = nullface_ray.run([str(work / "in")], str(work / "out"), OPTIONS, command, seed=SEED)
        killer.join()
        assert killed, "no node was killed in mid-run"
        assert [r["fate"] for r in report["results"]] == ["done"] * FILMS, report
        ledger = [json.loads(line)["key"][0] for line in (work / "out" / nullface_ray.LEDGER).read_text().splitlines()]
        assert sorted(ledger) == [f"{i}.mp4" for i in range(FILMS)], ledger
        for i in range(FILMS):
            alone, here = ((work / folder / f"{i}.mp4").read_bytes() for folder in ("alone", "out"))
            assert alone == here, f"{i}.mp4 differs from the result of one machine"
        assert not list((work / "out").rglob(".*.part"))
        again = nullface_ray.run([str(work / "in")], str(work / "out"), OPTIONS, command, seed=SEED)
        assert {r["fate"] for r in again["results"]} == {"there already"}, again

        other = work / "other"
        other.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "nullface $RANDOM.$$" || exec {command} "$@"\n')
        other.chmod(0o755)
        mixed = nullface_ray.run([str(work / "in" / "0.mp4")], str(work / "mixed"), OPTIONS, str(other))
        assert mixed["results"][0]["fate"] == "failed" and "same version" in mixed["results"][0]["why"], mixed

        session = pathlib.Path(ray._private.worker._global_node.get_session_dir_path())
        places = [work / "out", session]
        ray.shutdown()
        cluster.shutdown()
        read = 0
        for place in places:
            for folder, _, names in os.walk(place):
                for name in names:
                    path = pathlib.Path(folder) / name
                    if path.is_file() and not path.is_symlink():
                        read += 1
                        assert SEED.encode() not in path.read_bytes(), f"the secret is in {path}"
        assert read > 20
    print(f"{FILMS} films complete after a node was killed, equal to one machine's; {read} files without the secret")
    return 0


if __name__ == "__main__":
    sys.exit(main())
