//! The monitor: a page on the loopback address with the anonymised picture, a card for each track
//! with a switch, and graphs of rung and delay.
//!
//! | request | answer |
//! |---|---|
//! | `GET /`, `/page.js`, `/page.css` | the page; `/?still` looks once and stands still |
//! | `GET /picture.jpg?after=N` | the next picture after the N-th, its number in `X-Picture` |
//! | `GET /state.json` | everything but the picture |
//! | `POST /tracks/ID` with `{"covered": true}` | the track is filled with one colour, or treated as all others again |
//!
//! The picture is taken where the outputs take it: behind the filter. [`guard`] says who may ask.

mod guard;

use std::io::Cursor;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use gst::prelude::*;
use tiny_http::{Header, Method, Request, Response, Server};

use super::board::Board;
use super::hub::{Feed, Hub, Running, lock};
use super::outlet;
use super::source::tap;
use guard::Asked;

/// Requests answered at the same time.
const ANSWERERS: usize = 4;
/// Longest that a request for a picture waits for a new one.
const PICTURE_PATIENCE: Duration = Duration::from_secs(1);
/// How often answerers look whether the session is over.
const TICK: Duration = Duration::from_millis(200);
/// Longest body of a request, bytes.
const MAX_BODY: usize = 1024;
/// Widest picture shown, px.
const WIDEST: u32 = 960;

const POLICY: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; frame-ancestors 'none'";

type Reply = Response<Cursor<Vec<u8>>>;

/// The last picture and its number.
#[derive(Debug, Default)]
struct Pictures {
    last: Mutex<(u64, Arc<Vec<u8>>)>,
    news: Condvar,
}

impl Pictures {
    fn put(&self, bytes: Vec<u8>) {
        let mut last = lock(&self.last);
        *last = (last.0 + 1, Arc::new(bytes));
        drop(last);
        self.news.notify_all();
    }

    /// The first picture after the `n`-th, or the last one where none comes in time.
    fn after(&self, n: u64) -> (u64, Arc<Vec<u8>>) {
        let last = lock(&self.last);
        let waited = self.news.wait_timeout_while(last, PICTURE_PATIENCE, |last| last.0 <= n);
        waited.map_or_else(|e| e.into_inner().0.clone(), |(last, _)| last.clone())
    }
}

/// The monitor.
#[derive(Debug)]
pub(super) struct Monitor {
    port: u16,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _camera: Running,
    feed: Arc<Feed>,
    hub: Arc<Hub>,
}

struct Desk {
    server: Arc<Server>,
    port: u16,
    pictures: Arc<Pictures>,
    board: Arc<Mutex<Board>>,
    stop: Arc<AtomicBool>,
}

impl Monitor {
    /// Listens on the loopback address.
    ///
    /// # Errors
    /// The port is taken.
    pub(super) fn start(port: u16, hub: &Arc<Hub>, board: &Arc<Mutex<Board>>) -> Result<Self> {
        let server = Server::http(("127.0.0.1", port))
            .map_err(|e| anyhow!("--monitor {port}: the page cannot be served there: {e}; choose another port, or 0 for a free one"))?;
        let port = server.server_addr().to_ip().map_or(port, |address| address.port());
        let (pipeline, feed, pictures) = camera()?;
        hub.add(&feed);
        pipeline
            .set_state(gst::State::Playing)
            .context("the monitor's encoder does not start")?;
        let stop = Arc::<AtomicBool>::default();
        let server = Arc::new(server);
        let mut threads = Vec::with_capacity(ANSWERERS);
        for _ in 0..ANSWERERS {
            let desk = Desk {
                server: Arc::clone(&server),
                port,
                pictures: Arc::clone(&pictures),
                board: Arc::clone(board),
                stop: Arc::clone(&stop),
            };
            threads.push(
                std::thread::Builder::new()
                    .name("nullface-monitor".to_owned())
                    .spawn(move || desk.serve())?,
            );
        }
        Ok(Self {
            port,
            stop,
            threads,
            _camera: pipeline,
            feed,
            hub: Arc::clone(hub),
        })
    }

    /// Where the page is.
    pub(super) fn address(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // A panic in it was said already.
            let _ = thread.join();
        }
        self.hub.remove(&self.feed);
    }
}

/// The pipeline that makes JPEG pictures of what leaves the filter.
fn camera() -> Result<(Running, Arc<Feed>, Arc<Pictures>)> {
    let description = format!(
        "appsrc name=picture is-live=true format=time leaky-type=downstream block=false max-buffers=1 max-bytes=0 max-time=0 \
         ! videoscale ! video/x-raw,width=[1,{WIDEST}],pixel-aspect-ratio=1/1 ! videoconvert ! jpegenc quality=80 \
         ! appsink name=jpeg sync=false max-buffers=1 drop=true"
    );
    let pipeline = gst::parse::launch(&description)
        .context("GStreamer cannot make the monitor's encoder; run `nullface doctor`")?
        .downcast::<gst::Pipeline>()
        .map_err(|_| anyhow!("the monitor's encoder is no pipeline"))?;
    // Nobody reads its bus; a failure shows as a picture that stands still.
    if let Some(bus) = pipeline.bus() {
        bus.set_sync_handler(|_, _| gst::BusSyncReply::Drop);
    }
    let pictures = Arc::<Pictures>::default();
    let to = Arc::clone(&pictures);
    tap(pipeline.upcast_ref(), "jpeg", move |sample| {
        if let Some(map) = sample.buffer().and_then(|b| b.map_readable().ok()) {
            to.put(map.to_vec());
        }
    })?;
    let feed = outlet::feed(pipeline.upcast_ref())?;
    Ok((Running(pipeline), feed, pictures))
}

impl Desk {
    fn serve(&self) {
        while !self.stop.load(Ordering::Acquire) {
            if let Ok(Some(mut request)) = self.server.recv_timeout(TICK) {
                let reply = self.answer(&mut request);
                // A browser that left needs no answer.
                let _ = request.respond(reply);
            }
        }
    }

    fn answer(&self, request: &mut Request) -> Reply {
        let header = |name: &'static str| {
            request
                .headers()
                .iter()
                .find(|h| h.field.equiv(name))
                .map(|h| h.value.as_str().to_owned())
        };
        let (host, origin, site) = (header("Host"), header("Origin"), header("Sec-Fetch-Site"));
        let asked = Asked {
            host: host.as_deref(),
            origin: origin.as_deref(),
            site: site.as_deref(),
            changes: *request.method() != Method::Get,
        };
        if let Some(why) = guard::refusal(asked, self.port) {
            return text(403, why);
        }
        let url = request.url().to_owned();
        let (path, query) = url.split_once('?').unwrap_or((&url, ""));
        match (request.method(), path) {
            (Method::Get, "/") => page("text/html; charset=utf-8", include_str!("page.html")),
            (Method::Get, "/page.js") => page("text/javascript; charset=utf-8", include_str!("page.js")),
            (Method::Get, "/page.css") => page("text/css; charset=utf-8", include_str!("page.css")),
            (Method::Get, "/state.json") => page("application/json", &lock(&self.board).json().to_string()),
            (Method::Get, "/picture.jpg") => self.picture(query),
            (Method::Post, path) => match path.strip_prefix("/tracks/").and_then(|id| id.parse().ok()) {
                Some(track) => self.switch(track, request),
                None => text(404, "nothing of that name"),
            },
            _ => text(404, "nothing of that name"),
        }
    }

    fn picture(&self, query: &str) -> Reply {
        let after = query.strip_prefix("after=").and_then(|n| n.parse().ok()).unwrap_or(0);
        match self.pictures.after(after) {
            (0, _) => text(503, "no picture yet"),
            (number, bytes) => with_headers(
                Response::from_data(bytes.to_vec()),
                &[("Content-Type", "image/jpeg"), ("X-Picture", &number.to_string())],
            ),
        }
    }

    fn switch(&self, track: u64, request: &mut Request) -> Reply {
        use std::io::Read;
        let mut body = String::new();
        let read = request.as_reader().take(MAX_BODY as u64).read_to_string(&mut body);
        let asked: Option<bool> = read
            .ok()
            .and_then(|_| serde_json::from_str::<serde_json::Value>(&body).ok())
            .and_then(|body| body.get("covered")?.as_bool());
        match asked {
            None => text(400, "expected {\"covered\": true} or {\"covered\": false}"),
            Some(covered) if lock(&self.board).switch(track, covered) => text(200, "done"),
            Some(_) => text(404, "no such track"),
        }
    }
}

fn with_headers(mut reply: Reply, headers: &[(&str, &str)]) -> Reply {
    let always = [
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        ("Content-Security-Policy", POLICY),
    ];
    for (name, value) in always.iter().chain(headers) {
        if let Ok(header) = Header::from_bytes(*name, *value) {
            reply.add_header(header);
        }
    }
    reply
}

fn page(kind: &str, body: &str) -> Reply {
    with_headers(Response::from_data(body.as_bytes()), &[("Content-Type", kind)])
}

fn text(status: u16, body: &str) -> Reply {
    with_headers(
        Response::from_data(body.as_bytes()).with_status_code(status),
        &[("Content-Type", "text/plain; charset=utf-8")],
    )
}
