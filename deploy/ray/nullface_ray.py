#!/usr/bin/env python3
"""Anonymises an archive on a Ray cluster: one task a film, `nullface anonymize` in each.

    python3 deploy/ray/nullface_ray.py /archive/in -o /archive/out                  # this machine
    python3 deploy/ray/nullface_ray.py /archive/in -o /archive/out --address auto   # a cluster
    python3 deploy/ray/nullface_ray.py in -o out --gpus 1 -- --mode ksame --device cuda

Input and output lie in folders that every node sees under the same path, and every node has the
command `nullface` in the same version; a node with another one makes its films fail by name.

A worker or node that is lost has its film made again elsewhere. Results appear under their names
only when they are whole, so that a lost worker leaves nothing behind but a hidden `.part` file, which
is taken away at the end. What is done is known by the film's content, the options and the result, as
in `nullface batch`. A secret (`NULLFACE_SEED`) is taken from this process's environment, handed to the
tasks, and is neither on a command line nor in a log or report.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys

import ray

FILMS = "mp4 m4v mov mkv webm avi mpg mpeg ts mts m2ts mxf wmv flv 3gp ogv vob".split()
WRITTEN = "mp4 m4v mov mkv webm".split()
LEDGER = "ray.jsonl"
REPORT = "batch-report.json"
# Exit codes of `nullface anonymize` with which a film is there.
DONE, COVERED_BEYOND_LIMIT = 0, 3


def sha256(path: pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def version(command: str) -> str:
    return subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout.strip()


def films(inputs: list[str], output: pathlib.Path) -> list[tuple[pathlib.Path, pathlib.PurePath]]:
    """Films and the names of their results, in order; the rules are those of `nullface batch`."""
    found: list[tuple[pathlib.Path, pathlib.PurePath]] = []
    for text in inputs:
        path = pathlib.Path(text)
        if not path.is_dir():
            found.append((path, pathlib.PurePath(path.name)))
            continue
        for folder, folders, names in os.walk(path):
            here = pathlib.Path(folder)
            folders[:] = [f for f in folders if not f.startswith(".") and (here / f).resolve() != output.resolve()]
            for name in names:
                if not name.startswith(".") and name.rpartition(".")[2].lower() in FILMS:
                    found.append((here / name, (here / name).relative_to(path)))
    named: dict[pathlib.PurePath, pathlib.Path] = {}
    for film, relative in found:
        if relative.suffix[1:].lower() not in WRITTEN:
            relative = relative.with_suffix(".mkv")
        if relative in named:
            sys.exit(f"{film}: its result would have the name of that of {named[relative]}; rename one of them")
        named[relative] = film
    return [(named[name], name) for name in sorted(named)]


def _die_with_parent() -> None:
    """A film must not go on being made by a worker that is counted as lost."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def make(film: str, result: str, options: list[str], command: str, wanted: str, seed: str | None) -> dict:
    """Makes one film. Runs on a worker."""
    try:
        here = version(command)
    except (OSError, subprocess.CalledProcessError) as error:
        return {"fate": "failed", "why": f"{command} cannot be run on {os.uname().nodename}: {error}"}
    if here != wanted:
        return {
            "fate": "failed",
            "why": f"{os.uname().nodename} has {here}, expected {wanted}; install the same version on every node",
        }
    pathlib.Path(result).parent.mkdir(parents=True, exist_ok=True)
    words = [command, "anonymize", film, "-o", result, "--report", result + ".report.jsonl", "--force", "--quiet", *options]
    environment = {name: value for name, value in os.environ.items() if name != "NULLFACE_SEED"}
    if seed is not None:
        environment["NULLFACE_SEED"] = seed
    done = subprocess.run(words, env=environment, capture_output=True, text=True, preexec_fn=_die_with_parent)
    if done.returncode not in (DONE, COVERED_BEYOND_LIMIT):
        return {"fate": "failed", "exit_code": done.returncode, "why": " ".join(done.stderr.split())[-500:]}
    with open(result + ".report.jsonl", encoding="utf-8") as report:
        footer = next(r for r in map(json.loads, reversed(report.readlines())) if r["record"] == "footer")
    return {
        "fate": "done",
        "frames": footer["frames_out"],
        "fallback_share": footer["fallback_share"],
        "exit_code": done.returncode,
        "output_sha256": footer["output_sha256"],
    }


class Ledger:
    """What is done, as lines that are only added; half a line of a process that died is passed over."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.path = folder / LEDGER
        self.done: dict[tuple, str] = {}
        for line in self.path.read_text().splitlines() if self.path.exists() else []:
            try:
                record = json.loads(line)
                self.done[tuple(record["key"])] = record["output_sha256"]
            except (ValueError, KeyError, TypeError):
                continue

    def add(self, key: tuple, output_sha256: str) -> None:
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"key": list(key), "output_sha256": output_sha256}) + "\n")
            file.flush()
            os.fsync(file.fileno())


def run(
    inputs: list[str],
    output: str,
    options: list[str] = (),
    command: str = "nullface",
    cpus: float = 1,
    gpus: float = 0,
    retries: int = 3,
    seed: str | None = None,
) -> dict:
    """Makes all films on the Ray that is initialised; returns and writes the report."""
    folder = pathlib.Path(output).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    wanted = version(command)
    fingerprint = hashlib.sha256("\n".join([wanted, str(seed is not None), *options]).encode()).hexdigest()
    ledger = Ledger(folder)
    words = list(options)
    if not any(o.split("=")[0] == "--threads" for o in words):
        # As many as Ray lends: films beside each other would wait for each other's threads.
        words += ["--threads", str(max(1, int(cpus)))]
    task = ray.remote(num_cpus=cpus, num_gpus=gpus, max_retries=retries)(make)
    waiting, results = {}, []
    for film, name in films(list(inputs), folder):
        result = folder / name
        record = {"input": film.name, "output": str(name)}
        try:
            key = (str(name), sha256(film), fingerprint)
        except OSError as error:
            results.append(record | {"fate": "failed", "why": f"{film}: cannot be read: {error.strerror}"})
            continue
        if result.is_file() and ledger.done.get(key) == sha256(result):
            results.append(record | {"fate": "there already"})
            continue
        reference = task.remote(str(film.resolve()), str(result), words, command, wanted, seed)
        waiting[reference] = (record, key)
    while waiting:
        (reference,), _ = ray.wait(list(waiting), num_returns=1)
        record, key = waiting.pop(reference)
        try:
            told = ray.get(reference)
        except ray.exceptions.RayError as error:
            told = {"fate": "failed", "why": f"its worker was lost more than {retries} times ({type(error).__name__})"}
        if told["fate"] == "done":
            ledger.add(key, told["output_sha256"])
        results.append(record | told)
        print(f"{record['output']}: {told.get('why') or told['fate']}", file=sys.stderr)
    for part in folder.rglob(".*.part"):
        part.unlink(missing_ok=True)
    report = {"nullface": wanted, "films": len(results), "results": sorted(results, key=lambda r: r["output"])}
    draft = folder / f".{REPORT}.new"
    draft.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    draft.replace(folder / REPORT)
    return report


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("inputs", nargs="+", metavar="DIR|FILM")
    parser.add_argument("-o", "--output", required=True, metavar="DIR")
    parser.add_argument("--address", help="the cluster's address; this machine alone when left out")
    parser.add_argument("--cpus", type=float, default=1, help="processor cores a film")
    parser.add_argument("--gpus", type=float, default=0, help="GPUs a film; a fraction shares one")
    parser.add_argument("--retries", type=int, default=3, help="how often a film whose worker is lost is begun anew")
    parser.add_argument("--nullface", default="nullface", metavar="PATH", help="the command, on every node")
    words, options = sys.argv[1:], []
    if "--" in words:
        words, options = words[: words.index("--")], words[words.index("--") + 1 :]
    args = parser.parse_args(words)
    if any(o == "--seed" or o.startswith("--seed=") for o in options):
        parser.error("a secret does not belong on a command line: give it as NULLFACE_SEED in the environment")
    seed = os.environ.pop("NULLFACE_SEED", None)
    ray.init(address=args.address, log_to_driver=False)
    report = run(args.inputs, args.output, options, args.nullface, args.cpus, args.gpus, args.retries, seed)
    failed = sum(r["fate"] == "failed" for r in report["results"])
    print(f"{report['films']} films, {failed} failed", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
