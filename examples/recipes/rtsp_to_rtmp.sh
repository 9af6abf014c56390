#!/usr/bin/env bash
# From a camera that speaks RTSP to a server that takes RTMP (nginx with its RTMP module, a platform).
# `nullface live --source rtsp://… --sink rtmp://…` does the same, carries the sound, and connects again
# when either end dies.
# usage: rtsp_to_rtmp.sh rtsp://… rtmp://…        environment: MODE (default pixelate)
set -euo pipefail
[ $# = 2 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }

exec gst-launch-1.0 -q -e rtspsrc location="$1" latency=200 protocols=tcp ! rtph264depay ! h264parse ! avdec_h264 \
  ! videoconvert ! nullfacefilter profile=live mode="${MODE:-pixelate}" ! videoconvert \
  ! x264enc tune=zerolatency speed-preset=superfast key-int-max=50 ! h264parse \
  ! flvmux streamable=true ! rtmp2sink location="$2"
