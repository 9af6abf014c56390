#!/usr/bin/env bash
# How fast a live stream is: the first film set into 640x480 at 25 frames/s with one face, then all three side by
# side in 1280x720 at 30 frames/s, each for a minute through the element as `nullface live` has it. Delays of
# every frame, frames lost, what became of faces, and that none left as it came: see examples/03_live_speed.rs.
#
# usage: scripts/bench_live.sh ONE_FACE.mp4 SECOND.mp4 THIRD.mp4
#   SECONDS_EACH=60   length of each run
#   MODE=nullface     mode of the element
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# = 3 ] || fail "usage: scripts/bench_live.sh ONE_FACE.mp4 SECOND.mp4 THIRD.mp4"
for film in "$@"; do [ -f "$film" ] || fail "there is no film $film"; done
"$root/scripts/setup.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# The faces stand in the middle; what is too much is cut away, so that every pixel is the film's.
fit() { printf 'fps=%s,scale=%s:%s:force_original_aspect_ratio=increase,crop=%s:%s' "$3" "$1" "$2" "$1" "$2"; }
encode=(-an -c:v libx264 -crf 12 -pix_fmt yuv420p)
ffmpeg -v error -y -i "$1" -vf "$(fit 640 480 25)" "${encode[@]}" "$work/one.mp4"
ffmpeg -v error -y -stream_loop -1 -i "$1" -stream_loop -1 -i "$2" -stream_loop -1 -i "$3" -t 12 -filter_complex \
  "[0:v]$(fit 426 720 30)[a];[1:v]$(fit 428 720 30)[b];[2:v]$(fit 426 720 30)[c];[a][b][c]hstack=3" "${encode[@]}" "$work/three.mp4"
cd "$root"
cargo build --locked --release --workspace --examples --quiet
bench=("$CARGO_TARGET_DIR/release/examples/03_live_speed" --seconds "${SECONDS_EACH:-60}" --set "mode=${MODE:-nullface}")
say "$(nproc) cores of $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1); commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
say "one face, 640x480, 25 frames/s; asked: nothing lost, 95th percentile at most 40 ms"
"${bench[@]}" "$work/one.mp4"
say "three faces, 1280x720, 30 frames/s; asked: keeps up by the ladder, nothing raw"
"${bench[@]}" "$work/three.mp4"
