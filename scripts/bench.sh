#!/usr/bin/env bash
# How fast and how large: nullface against deface 1.5.0 (CenterFace on every full frame, blur), the
# element alone, and peak memory. Everything is measured in one run and told as ratios, because
# frames per second of a shared machine say little.
#
# usage: scripts/bench.sh FILM…
#   REPEATS=3       runs of each, of which the median counts
#   THREADS=2       cores that each side may use
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -gt 0 ] || fail "usage: scripts/bench.sh FILM…"
repeats=${REPEATS:-3}
threads=${THREADS:-2}
venv="$deps/bench-venv"

"$root/scripts/setup.sh"
if [ ! -x "$venv/bin/deface" ]; then
  say "deface 1.5.0: installing it into $venv"
  python3 -m venv "$venv" 2>/dev/null || fail "python3 -m venv does not work; install python3-venv"
  # The processor's runtime, as ours; imageio's own ffmpeg, as deface has it by default.
  "$venv/bin/pip" install --quiet --disable-pip-version-check "deface==1.5.0" "onnxruntime==1.24.4" imageio-ffmpeg
fi
cd "$root"
say "building"
cargo build --locked --release --workspace --quiet
nullface="$CARGO_TARGET_DIR/release/nullface"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Runs a command on $threads cores; prints seconds and peak memory in MiB, medians over the repeats.
measure() {
  python3 - "$repeats" "$threads" "$@" <<'PYTHON'
import os, statistics, subprocess, sys, time
repeats, threads, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
cores = sorted(os.sched_getaffinity(0))[:threads]
wall, peak = [], []
for _ in range(repeats):
    start = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, cores))
    said = child.stderr.read()
    _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 3):
        sys.exit(f"{' '.join(command)} failed: {said.decode(errors='replace')[-400:]}")
    wall.append(time.monotonic() - start)
    peak.append(usage.ru_maxrss / 1024)
print(f"{statistics.median(wall):.3f} {statistics.median(peak):.0f}")
PYTHON
}

frames_of() { ffprobe -v error -count_packets -select_streams v:0 -show_entries stream=nb_read_packets -of csv=p=0 "$1" | head -n 1; }
ratio() { python3 -c 'import sys; print(f"{float(sys.argv[1]) / float(sys.argv[2]):.2f}")' "$1" "$2"; }
rate() { python3 -c 'import sys; print(f"{float(sys.argv[1]) / float(sys.argv[2]):.1f}")' "$1" "$2"; }

say "$(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1); $threads used; median of $repeats; commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
printf '%-24s %-22s %9s %9s %8s %9s\n' film what frames/s 'x deface' 'peak MiB' 'x deface'
for film in "$@"; do
  [ -f "$film" ] || fail "there is no film $film"
  frames=$(frames_of "$film")
  read -r base_s base_mib < <(measure "$venv/bin/deface" --replacewith blur -o "$work/deface.mp4" "$film")
  line() { printf '%-24s %-22s %9s %9s %8s %9s\n' "$(basename "$film")" "$1" "$(rate "$frames" "$2")" "$(ratio "$base_s" "$2")" "$3" "$(ratio "$3" "$base_mib")"; }
  line "deface blur" "$base_s" "$base_mib"
  for interval in 0 1; do
    read -r s mib < <(measure "$nullface" anonymize "$film" -o "$work/out.mp4" --mode blur --detect-interval "$interval" --force --quiet)
    line "blur, interval $interval" "$s" "$mib"
  done
  # The element without encoder and file; what decoding alone costs is told beside it.
  # shellcheck disable=SC2054 # caps hold a comma
  source_part=(filesrc "location=$(realpath "$film")" ! decodebin ! videoconvert ! video/x-raw,format=NV12)
  export GST_PLUGIN_PATH="$CARGO_TARGET_DIR/release"
  read -r s mib < <(measure gst-launch-1.0 -q "${source_part[@]}" ! fakesink sync=false)
  line "decoding alone" "$s" "$mib"
  for mode in solid blur; do
    read -r s mib < <(measure gst-launch-1.0 -q "${source_part[@]}" ! nullfacefilter mode="$mode" ! fakesink sync=false)
    line "decoding, element $mode" "$s" "$mib"
  done
done
say "detect-interval 0 is the adaptive schedule, 1 is every frame; peak memory is of the process itself"
