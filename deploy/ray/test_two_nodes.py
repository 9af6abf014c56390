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

import ray
from ray.cluster_utils import Cluster

import nullface_ray

FILMS = 4
# Draws a person from the secret: a secret that does not arrive makes the films differ.
OPTIONS = ["--mode", "ksame", "--max-fallback-share", "1"]
INTERVIEW = pathlib.Path(__file__).parents[2] / "tests" / "data" / "interview.mp4"
SEED = "918273645546372819"


def script(path: pathlib.Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def main() -> int:
    command = str(pathlib.Path(sys.argv[1]).resolve())
    with tempfile.TemporaryDirectory() as text:
        work = pathlib.Path(text)
        (work / "in").mkdir()
        for i in range(FILMS):
            cut = ["ffmpeg", "-v", "error", "-ss", str(i / 2), "-i", str(INTERVIEW), "-t", "0.8", "-c:v", "libx264"]
            subprocess.run([*cut, str(work / "in" / f"{i}.mp4")], check=True)
        alone = [command, "batch", str(work / "in"), "-o", str(work / "alone"), "-q", "--", *OPTIONS]
        subprocess.run(alone, env=os.environ | {"NULLFACE_SEED": SEED}, check=True)

        calls = work / "calls"
        counted = script(work / "counted", f'[ "$1" = --version ] || echo "$2" >> {calls}\nexec {command} "$@"')
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        doomed = cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        killed, over = [], threading.Event()

        def kill() -> None:
            # When both nodes are at work: two films are being written.
            while not over.wait(0.02):
                parts = (work / "out").glob(".*.mp4.*.part")
                if sum(".report." not in part.name for part in parts) >= 2:
                    cluster.remove_node(doomed, allow_graceful=False)
                    killed.append(doomed)
                    return

        killer = threading.Thread(target=kill)
        killer.start()
        report = nullface_ray.run([str(work / "in")], str(work / "out"), OPTIONS, counted, seed=SEED)
        over.set()
        killer.join()
        assert killed, "no node was killed in mid-run"
        assert [r["fate"] for r in report["results"]] == ["done"] * FILMS, report
        begun = calls.read_text().splitlines()
        assert len(begun) > FILMS, f"no film was begun anew: {begun}"
        ledger = [json.loads(line)["key"][0] for line in (work / "out" / nullface_ray.LEDGER).read_text().splitlines()]
        assert sorted(ledger) == [f"{i}.mp4" for i in range(FILMS)], ledger
        for i in range(FILMS):
            alone, here = ((work / folder / f"{i}.mp4").read_bytes() for folder in ("alone", "out"))
            assert alone == here, f"{i}.mp4 differs from the result of one machine"
        assert not list((work / "out").rglob(".*.part"))
        again = nullface_ray.run([str(work / "in")], str(work / "out"), OPTIONS, counted, seed=SEED)
        assert {r["fate"] for r in again["results"]} == {"there already"}, again
        assert calls.read_text().splitlines() == begun, "films that are there were made again"

        other = script(work / "other", f'[ "$1" = --version ] && echo "nullface $$" || exec {command} "$@"')
        mixed = nullface_ray.run([str(work / "in" / "0.mp4")], str(work / "mixed"), OPTIONS, other)
        (refused,) = mixed["results"]
        assert refused["fate"] == "failed" and os.uname().nodename in refused["why"], mixed
        assert "install the same version" in refused["why"], mixed
        assert not (work / "mixed" / "0.mp4").exists()

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
