#!/usr/bin/env bash
# Runs README's gst-launch line on films as it stands there (after a release build), compares the number of
# frames that went in and came out, and draws a contact sheet of each: for looking at.
#
# usage: scripts/films.sh OUT-FOLDER FILM…
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -gt 1 ] || fail "usage: scripts/films.sh OUT-FOLDER FILM…"
cd "$root"
out=$(realpath -m "$1")
shift
mkdir -p "$out"
line=$(sed -n '/^GST_PLUGIN_PATH=.*gst-launch-1.0/,/[^\\]$/p' README.md | tr -d '\\\n')
[[ $line == *in.mp4*nullfacefilter*out.mp4* ]] || fail "README.md: expected a gst-launch line from in.mp4 to out.mp4, got: $line"
line=${line//target\/release/$CARGO_TARGET_DIR/release}
frames_of() { ffprobe -v error -count_packets -select_streams v:0 -show_entries stream=nb_read_packets -of csv=p=0 "$1" | head -n 1; }

wrong=0
for film in "$@"; do
  name=$(basename "$film" .mp4)
  film=$(realpath "$film")
  command=${line//in.mp4/"\"$film\""}
  command=${command//out.mp4/"\"$out/$name.mp4\""}
  bash -c "$command" >"$out/$name.log" 2>&1 || { say "$name: failed, see $out/$name.log"; wrong=1; continue; }
  before=$(frames_of "$film")
  after=$(frames_of "$out/$name.mp4")
  said="$name: $before frames in, $after out"
  if [ "$before" != "$after" ] || grep -q -e CRITICAL -e WARNING "$out/$name.log"; then
    said="$said  <-- look"
    wrong=1
  fi
  "$CARGO_TARGET_DIR/release/nullface" sheet "$film" "$out/$name.mp4" -o "$out/$name.png" --force >/dev/null 2>&1 || wrong=1
  say "$said"
done
exit "$wrong"
