#!/usr/bin/env bash
# From SRT to SRT: calls the sender, and waits to be called by whoever wants to see.
# usage: srt_relay.sh srt://SENDER:PORT srt://:PORT?mode=listener        environment: MODE (default pixelate)
set -euo pipefail
[ $# = 2 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }

exec gst-launch-1.0 -q -e srtsrc uri="$1" ! tsdemux latency=0 ! h264parse ! avdec_h264 \
  ! videoconvert ! nullfacefilter profile=live mode="${MODE:-pixelate}" ! videoconvert \
  ! x264enc tune=zerolatency speed-preset=superfast key-int-max=25 ! h264parse config-interval=-1 \
  ! mpegtsmux alignment=7 ! srtsink uri="$2" wait-for-connection=false
