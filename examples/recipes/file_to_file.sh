#!/usr/bin/env bash
# A film to a film, with its sound. `nullface anonymize` also keeps times and colour tags, passes the
# sound on without encoding it anew, and cleans the metadata.
# usage: file_to_file.sh IN OUT.mp4        environment: MODE (default pixelate)
set -euo pipefail
[ $# = 2 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }

exec gst-launch-1.0 -q filesrc location="$1" ! decodebin name=film \
  film. ! queue ! videoconvert ! nullfacefilter profile=film mode="${MODE:-pixelate}" \
    ! videoconvert ! x264enc speed-preset=veryfast ! h264parse ! queue ! mux. \
  film. ! queue ! audioconvert ! audioresample ! avenc_aac ! aacparse ! queue ! mux. \
  mp4mux name=mux ! filesink location="$2"
