#!/usr/bin/env python3
"""Checks that what the documents say is there is there: links to files and headings, paths of scripts,
options and subcommands of the command line, properties of the element. No network.

usage: scripts/check_docs.py [FILE.md …]   (default: every tracked .md file)
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
SCRIPT = re.compile(r"(?<![\w/.-])((?:scripts|tests|examples|\.ci|models)/[\w./-]+\w)")
OPTION = re.compile(r"(?<![\w-])--([a-z][a-z-]+)")
# Where clap finds the options of each subcommand, and GStreamer the element's properties.
ARGS = {
    "anonymize": "cli/src/anonymize/args.rs",
    "live": "cli/src/live/args.rs",
    "batch": "cli/src/batch/mod.rs",
    "review": "cli/src/review/args.rs",
    "man": "cli/src/pages.rs",
    "completions": "cli/src/pages.rs",
    "sheet": "cli/src/sheet.rs",
    "eval": "cli/src/eval/mod.rs",
    "eval attack": "cli/src/eval/attack/mod.rs",
    "eval calibrate": "cli/src/eval/calibrate.rs",
    "eval sweep": "cli/src/eval/sweep.rs",
    "audit": "cli/src/audit/mod.rs",
    "models": "cli/src/models.rs",
    "doctor": "cli/src/doctor/mod.rs",
} | {f"tracks {edit}": "cli/src/tracks/args.rs" for edit in ("find", "show", "add", "drop", "merge", "split", "decide")}
PROPERTIES = "plugin/src/filter/specs.rs"


def slug(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def headings(text: str) -> set[str]:
    return {slug(h) for h in re.findall(r"^#+\s+(.*)$", FENCE.sub("", text), re.M)}


def options_of(subcommand: str) -> set[str]:
    """Options that a subcommand has: the fields of its Args that carry `long`."""
    source = (ROOT / ARGS[subcommand]).read_text()
    fields = re.findall(r"#\[arg\(([^\]]*\blong\b[^\]]*)\)\]\s*(?:pub\((?:crate|super)\) )?(\w+):", source)
    named = [re.search(r'\blong = "([\w-]+)"', how) for how, _ in fields]
    return {word[1] if word else name.replace("_", "-") for word, (_, name) in zip(named, fields)} | {"help"}


def check_links(path: pathlib.Path, text: str) -> list[str]:
    wrong = []
    for target in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        aimed = (path.parent / file) if file else path
        if not aimed.exists():
            wrong.append(f"link to {target}: no such file")
        elif anchor and aimed.suffix == ".md" and anchor not in headings(aimed.read_text()):
            wrong.append(f"link to {target}: no such heading")
    return wrong


def check_commands(text: str) -> list[str]:
    wrong = []
    properties = set(re.findall(r'ParamSpec\w+::builder\w*(?:::<\w+(?:::\w+)*>)?\("([a-z-]+)"', (ROOT / PROPERTIES).read_text()))
    for _, block in FENCE.findall(text):
        for line in re.sub(r"\\\n", " ", block).splitlines():
            line = line.split(" #")[0]
            run = re.search(r"(?:^|[\s/])nullface (\w+)(.*)", line)
            if run:
                name, rest = run.groups()
                second = f"{name} {rest.split()[0]}" if rest.split() else name
                name = second if second in ARGS else name
                if name not in ARGS:
                    wrong.append(f"`{line.strip()}`: no subcommand {name}")
                else:
                    wrong += [f"`{line.strip()}`: no option --{o}" for o in OPTION.findall(rest) if o not in options_of(name)]
            for element in re.findall(r"nullfacefilter([^!]*)", line):
                for name in re.findall(r"([a-z-]+)=", element):
                    if name not in properties:
                        wrong.append(f"`{line.strip()}`: no property {name}")
    return wrong


def check_paths(path: pathlib.Path, text: str) -> list[str]:
    mentioned = set(SCRIPT.findall(text))
    return [f"{p} is mentioned and not there" for p in sorted(mentioned) if not ((ROOT / p).exists() or (path.parent / p).exists())]


def main() -> int:
    named = sys.argv[1:] or subprocess.run(["git", "ls-files", "*.md"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    bad = 0
    for name in named:
        path = (ROOT / name).resolve()
        text = path.read_text()
        for wrong in check_links(path, text) + check_commands(text) + check_paths(path, text):
            print(f"{name}: {wrong}", file=sys.stderr)
            bad += 1
    if not named:
        print("no document to check", file=sys.stderr)
        return 1
    print(f"{len(named)} documents, {bad} faults")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
