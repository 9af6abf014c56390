#!/usr/bin/env bash
# A camera without faces for programs that only know cameras (conferences): a v4l2loopback device, made
# by `modprobe v4l2loopback video_nr=9 exclusive_caps=1 card_label=anonymous`.
# usage: virtual_camera.sh /dev/videoIN /dev/video9        environment: MODE (default pixelate)
set -euo pipefail
[ $# = 2 ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }

exec gst-launch-1.0 -q v4l2src device="$1" ! decodebin ! videoconvert \
  ! nullfacefilter profile=live on-failure=cover-frame mode="${MODE:-pixelate}" \
  ! videoconvert ! video/x-raw,format=YUY2 ! v4l2sink device="$2" sync=false
