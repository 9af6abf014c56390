#!/usr/bin/env bash
# How fast and how large: nullface against deface 1.5.0 (CenterFace on every full frame, blur) on each
# film and on the first one set into 1280×720; then the element alone over raw 1280×720 frames.
# Then what replacing faces costs, against the film's own length, and what four faces cost against one.
# Everything is measured in one run and told as ratios, because frames per second of a shared machine
# say little.
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
export GST_PLUGIN_PATH="$CARGO_TARGET_DIR/release"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Seconds, peak MiB and processor seconds of a command.
measure() { python3 "$root/scripts/measure.py" "$repeats" "$threads" "$@"; }
frames_of() { ffprobe -v error -count_packets -select_streams v:0 -show_entries stream=nb_read_packets -of csv=p=0 "$1" | head -n 1; }
ratio() { python3 -c 'import sys; print(f"{float(sys.argv[1]) / float(sys.argv[2]):.2f}")' "$1" "$2"; }
rate() { python3 -c 'import sys; print(f"{float(sys.argv[1]) / float(sys.argv[2]):.1f}")' "$1" "$2"; }
less() { python3 -c 'import sys; print(max(float(sys.argv[1]) - float(sys.argv[2]), 1e-6))' "$1" "$2"; }

# Rows of one film: deface, ours by schedule, ours on every frame.
against_deface() {
  local film=$1 name=$2 frames base_s base_mib s mib _cpu
  frames=$(frames_of "$film")
  read -r base_s base_mib _cpu < <(measure "$venv/bin/deface" --replacewith blur -o "$work/deface.mp4" "$film")
  line() { printf '%-24s %-22s %9s %9s %8s %9s\n' "$name" "$1" "$(rate "$frames" "$2")" "$(ratio "$base_s" "$2")" "$3" "$(ratio "$3" "$base_mib")"; }
  line "deface blur" "$base_s" "$base_mib"
  for interval in 0 1; do
    read -r s mib _cpu < <(measure "$nullface" anonymize "$film" --one-pass -o "$work/out.mp4" --mode blur --detect-interval "$interval" --force --quiet)
    line "blur, interval $interval" "$s" "$mib"
  done
}

say "$(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1); $threads used; median of $repeats; commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
printf '%-24s %-22s %9s %9s %8s %9s\n' film what frames/s 'x deface' 'peak MiB' 'x deface'
for film in "$@"; do
  [ -f "$film" ] || fail "there is no film $film"
  against_deface "$film" "$(basename "$film")"
done
# The first film with borders to 1280×720, as a film and as raw frames.
# shellcheck disable=SC2054 # caps hold a comma
set_in=(filesrc "location=$(realpath "$1")" ! decodebin ! videoconvert ! videoscale ! "video/x-raw,format=NV12,width=1280,height=720,pixel-aspect-ratio=1/1")
gst-launch-1.0 -q "${set_in[@]}" ! videoconvert ! x264enc pass=qual quantizer=18 speed-preset=veryfast ! mp4mux ! filesink "location=$work/720.mp4"
against_deface "$work/720.mp4" "set into 1280x720"

frame_bytes=$((1280 * 720 * 3 / 2))
gst-launch-1.0 -q "${set_in[@]}" ! identity eos-after=301 ! filesink "location=$work/frames.nv12"
frames=$(($(stat -c %s "$work/frames.nv12") / frame_bytes))
# shellcheck disable=SC2054 # no comma here belongs to the shell
source_part=(filesrc "location=$work/frames.nv12" "blocksize=$frame_bytes" ! rawvideoparse format=nv12 width=1280 height=720 framerate=30/1)
say "the element alone: $frames raw frames 1280x720 NV12 from memory, less what reading them costs; starting up is counted in"
printf '%-24s %9s %22s\n' what frames/s 'processor ms a frame'
read -r base_s _ base_cpu < <(measure gst-launch-1.0 -q "${source_part[@]}" ! fakesink sync=false)
for asked in "mode=solid" "mode=solid lookahead=8" "mode=blur" "mode=pixelate"; do
  # shellcheck disable=SC2086 # two properties are two words
  read -r s _ cpu < <(measure gst-launch-1.0 -q "${source_part[@]}" ! nullfacefilter $asked ! fakesink sync=false)
  printf '%-24s %9s %22s\n' "${asked#mode=}" "$(rate "$frames" "$(less "$s" "$base_s")")" "$(rate "$(less "$cpu" "$base_cpu")e3" "$frames")"
done
# The whole command with faces replaced.
length_of() { ffprobe -v error -show_entries format=duration -of csv=p=0 "$1" | head -n 1; }
say "faces replaced, whole command: x real time is the film's length by the time taken"
printf '%-24s %-22s %9s %12s %9s\n' film what frames/s 'x real time' 'peak MiB'
for film in "$@" "$work/720.mp4"; do
  for mode in nullface ksame; do
    read -r s mib _ < <(measure "$nullface" anonymize "$film" --one-pass -o "$work/out.mp4" --mode "$mode" --force --quiet)
    printf '%-24s %-22s %9s %12s %9s\n' "$(basename "$film")" "$mode" "$(rate "$(frames_of "$film")" "$s")" "$(ratio "$(length_of "$film")" "$s")" "$mib"
  done
done
# Four copies of the first film side by side against one.
ffmpeg -v error -y -i "$1" -frames:v 150 -an -vf format=yuv420p -c:v ffv1 "$work/one.mkv"
ffmpeg -v error -y -i "$1" -frames:v 150 -an -filter_complex '[0:v]split=4[a][b][c][d];[a][b]hstack[e];[c][d]hstack[f];[e][f]vstack,format=yuv420p' -c:v ffv1 "$work/four.mkv"
costs() {
  local part s base
  # shellcheck disable=SC2054 # caps hold a comma
  part=(filesrc "location=$1" ! matroskademux ! decodebin ! videoconvert ! video/x-raw,format=I420)
  read -r base _ _ < <(measure gst-launch-1.0 -q "${part[@]}" ! fakesink sync=false)
  read -r s _ _ < <(measure gst-launch-1.0 -q "${part[@]}" ! nullfacefilter mode=nullface ! fakesink sync=false)
  less "$s" "$base"
}
one=$(costs "$work/one.mkv")
four=$(costs "$work/four.mkv")
say "four faces cost $(ratio "$four" "$one") times one face (the element alone, starting up counted in)"
say "interval 0 is the adaptive schedule, 1 detects on every frame; peak memory is that of the whole process tree, so that deface's ffmpeg processes count"
