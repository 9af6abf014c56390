#!/usr/bin/env bash
# One command from a clone to a film without faces: sets up what is missing, builds, anonymises the
# interview that the repository carries, and draws a contact sheet.
#
# usage: scripts/demo.sh [FILM]
#   FILM   another film instead of tests/data/interview.mp4; results are named after it
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

film=$(realpath -e "${1:-$root/tests/data/interview.mp4}") || fail "there is no film ${1:-}"
name=$(basename "${film%.*}")

"$root/scripts/setup.sh" --run-only
cd "$root"
say "building (the first time takes some minutes)"
cargo build --locked --release --workspace --quiet
nullface="$CARGO_TARGET_DIR/release/nullface"

mkdir -p out
say "anonymising $film"
status=0
"$nullface" anonymize "$film" --output "out/$name.mp4" --report "out/$name.report.jsonl" --force || status=$?
case $status in
  0) ;;
  3) say "some faces were covered otherwise than asked; the report says which and why" ;;
  *) fail "nullface ended with $status; \`$nullface doctor\` shows what is missing" ;;
esac
sheet=contact-sheet.png
[ "$name" = interview ] || sheet="$name.contact-sheet.png"
"$nullface" sheet "$film" "out/$name.mp4" --report "out/$name.report.jsonl" --output "out/$sheet" --force

say "done:"
printf '   %-28s %s\n' \
  "out/$name.mp4" "the film with other faces" \
  "out/$name.report.jsonl" "what happened to every face" \
  "out/$sheet" "source, output and difference side by side"
