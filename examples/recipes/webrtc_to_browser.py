#!/usr/bin/python3
"""To a browser, by WebRTC: a page on the loopback address that shows the anonymised picture.

The page offers and is answered in one request, as WHEP has it, so that players which speak that can be given
http://127.0.0.1:PORT/whep. The page is on the loopback address only, no other server is asked for anything, and the
picture goes, encrypted, from one end to the other. There is one viewer at a time: the source is opened for them, a new
one takes over, and nobody is filmed while nobody looks.

Named above is the system's Python, whose bindings Debian packages (python3-gi, gir1.2-gst-plugins-bad-1.0,
gstreamer1.0-nice).

usage: webrtc_to_browser.py [PORT]        environment: SOURCE (default videotestsrc is-live=true), MODE (default pixelate)
"""

import http.server
import os
import re
import sys
import threading

import gi

for library in ("Gst", "GstSdp", "GstWebRTC"):
    gi.require_version(library, "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

HOST = "127.0.0.1"
# Longest offer that is read, bytes.
MAX_OFFER = 64 << 10
# How long the machine may take to find its own addresses, s.
PATIENCE = 10

PAGE = """<!doctype html>
<meta charset="utf-8">
<title>nullface by WebRTC</title>
<style>
  html, body { height: 100%; margin: 0; background: #111; color: #ddd; font-family: sans-serif }
  video { width: 100%; height: 100%; object-fit: contain }
</style>
<video id="picture" autoplay muted playsinline></video>
<script>
const link = new RTCPeerConnection();
link.addTransceiver('video', { direction: 'recvonly' });
link.ontrack = ({ track }) => { document.getElementById('picture').srcObject = new MediaStream([track]); };
const gathered = new Promise((done) => {
  link.onicegatheringstatechange = () => link.iceGatheringState === 'complete' && done();
});
(async () => {
  await link.setLocalDescription();
  await gathered;
  const headers = { 'Content-Type': 'application/sdp' };
  const reply = await fetch('/whep', { method: 'POST', headers, body: link.localDescription.sdp });
  if (!reply.ok) throw new Error(await reply.text());
  await link.setRemoteDescription({ type: 'answer', sdp: await reply.text() });
  addEventListener('pagehide', () => fetch(reply.headers.get('Location'), { method: 'DELETE', keepalive: true }));
})().catch((error) => { document.body.textContent = error; });
</script>
"""


class Refused(Exception):
    """An offer that cannot be answered, and why."""


class Viewer:
    """The pipeline from the source to one browser."""

    def __init__(self, offer, failed, gone):
        payload = re.search(r"^a=rtpmap:(\d+) VP8/90000", offer, re.M)
        result, message = GstSdp.SDPMessage.new_from_text(offer)
        if payload is None or result != GstSdp.SDPResult.OK:
            raise Refused("the offer is no SDP, or has no VP8")
        self.offer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.OFFER, message)
        source, mode = os.environ.get("SOURCE", "videotestsrc is-live=true"), os.environ.get("MODE", "pixelate")
        self.pipeline = Gst.parse_launch(
            f"{source} ! videoconvert ! nullfacefilter profile=live mode={mode} ! videoconvert "
            "! vp8enc deadline=1 cpu-used=8 end-usage=cbr target-bitrate=2000000 "
            f"! rtpvp8pay pt={payload[1]} picture-id-mode=15-bit ! webrtcbin name=link bundle-policy=max-bundle"
        )
        self.bus = self.pipeline.get_bus()
        self.bus.add_signal_watch()
        self.bus.connect("message::error", lambda _, message: failed(message.parse_error().gerror.message))
        self.gone, self.gathered = gone, threading.Event()
        self.link = self.pipeline.get_by_name("link")
        self.link.connect("notify::connection-state", self.on_connection)
        self.link.connect("notify::ice-gathering-state", self.on_gathering)

    def ask(self, what, argument):
        """One step of the negotiation; what it gives."""
        promise = Gst.Promise.new()
        self.link.emit(what, argument, promise)
        promise.wait()
        reply = promise.get_reply()
        if reply is not None and reply.has_field("error"):
            raise Refused(f"{what}: the offer cannot be taken")
        return reply

    def answer(self):
        """Starts; the answer, with all ways to reach us in it."""
        self.pipeline.set_state(Gst.State.PLAYING)
        self.ask("set-remote-description", self.offer)
        # What holds a description must outlive it: the bindings lend it and do not copy.
        reply = self.ask("create-answer", None)
        self.ask("set-local-description", reply.get_value("answer"))
        if not self.gathered.wait(PATIENCE):
            raise Refused("this machine's own addresses were not found in time")
        description = self.link.get_property("local-description")
        return description.sdp.as_text()

    def on_gathering(self, link, _):
        if link.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            self.gathered.set()

    def on_connection(self, link, _):
        ended = (GstWebRTC.WebRTCPeerConnectionState.FAILED, GstWebRTC.WebRTCPeerConnectionState.CLOSED)
        if link.get_property("connection-state") in ended:
            self.gone()

    def end(self):
        self.bus.remove_signal_watch()
        self.pipeline.set_state(Gst.State.NULL)


class Page(http.server.BaseHTTPRequestHandler):
    """What is at HOST:PORT. Only pages of ours are answered: what is not asked by this name may be another page's."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/":
            self.reply(200, PAGE, "text/html; charset=utf-8")
        else:
            self.reply(404, "there is / and /whep")

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        if self.path != "/whep" or self.headers.get("Content-Type") != "application/sdp" or not 0 < length <= MAX_OFFER:
            self.close_connection = True
            return self.reply(400, f"an offer of at most {MAX_OFFER} bytes (application/sdp) is posted to /whep")
        try:
            number, answer = self.server.join(self.rfile.read(length).decode())
        except (Refused, GLib.Error, UnicodeDecodeError) as error:
            return self.reply(400, str(error))
        self.reply(201, answer, "application/sdp", Location=f"/whep/{number}")

    def do_DELETE(self):
        number = self.path.removeprefix("/whep/")
        known = number.isdecimal() and self.server.leave(int(number))
        self.reply(200 if known else 404, "")

    def parse_request(self):
        if not super().parse_request():
            return False
        port = self.server.server_port
        if self.headers.get("Host") in (f"{HOST}:{port}", f"localhost:{port}"):
            return True
        self.close_connection = True
        self.reply(403, "this host is not served here")
        return False

    def reply(self, status, text, kind="text/plain; charset=utf-8", **headers):
        body = text.encode()
        self.send_response(status)
        for name, value in (headers | {"Content-Type": kind, "Content-Length": len(body)}).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Requests are not told."""


class Server(http.server.ThreadingHTTPServer):
    """The page's server, and who looks at present."""

    def __init__(self, port, failed):
        super().__init__((HOST, port), Page)
        self.failed, self.lock = failed, threading.Lock()
        self.viewer, self.count = None, 0

    def join(self, offer):
        """The number and the answer of a viewer, who takes the place of the one before."""
        with self.lock:
            self.end()
            self.count += 1
            number = self.count
            # Told by one of the pipeline's own threads, which cannot end it.
            self.viewer = Viewer(offer, self.failed, lambda: GLib.idle_add(self.forget, number))
            try:
                return number, self.viewer.answer()
            except Refused:
                self.end()
                raise

    def leave(self, number):
        """Ends the viewer of this number; whether it is the one of now."""
        with self.lock:
            known = self.viewer is not None and number == self.count
            if known:
                self.end()
            return known

    def forget(self, number):
        self.leave(number)
        return GLib.SOURCE_REMOVE

    def end(self):
        if self.viewer:
            self.viewer.end()
        self.viewer = None


def main(args):
    if len(args) > 1 or not all(arg.isdecimal() for arg in args):
        usage = next(line for line in __doc__.splitlines() if line.startswith("usage"))
        sys.exit(usage)
    Gst.init(None)
    loop, faults = GLib.MainLoop(), []

    def failed(why):
        faults.append(why)
        loop.quit()

    try:
        server = Server(int(args[0]) if args else 8189, failed)
    except OSError as error:
        sys.exit(f"the page cannot be served there: {error}; choose another port, or 0 for a free one")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f"open http://{HOST}:{server.server_port}/", file=sys.stderr, flush=True)
    try:
        loop.run()
    except KeyboardInterrupt:
        pass
    with server.lock:
        server.end()
    sys.exit(faults[0] if faults else 0)


main(sys.argv[1:])
