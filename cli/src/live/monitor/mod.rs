//! The monitor: a page on the loopback address with the anonymised picture, a card for each track
//! with a switch, and graphs of rung and delay.
//!
//! | request | answer |
//! |---|---|
//! | `GET /`, `/page.js`, `/page.css` | the page |
//! | `GET /picture.jpg?after=N` | the next picture after the N-th, its number in `X-Picture` |
//! | `GET /state.json` | everything but the picture |
//! | `POST /tracks/ID` with `{"switch": "cover"}` | `cover`: the track is filled with one colour; `on`: treated as all others; `off`, with `--allow-keep` only (403 else): left as it is while it is certainly the person that it was |
//!
//! The picture is taken where the outputs take it: behind the filter. [`crate::loopback`] says who may ask.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use gst::prelude::*;
use tiny_http::{Method, Request, Response};

use super::board::{Board, NotSwitched, Switch};
use super::hub::{Feed, Hub, Running, lock};
use super::outlet;
use super::source::tap;
use crate::loopback::{Answers, Page, Reply, body, part, text, with_headers};

/// Longest that a request for a picture waits for a new one.
const PICTURE_PATIENCE: Duration = Duration::from_secs(1);
/// Widest picture shown, px.
const WIDEST: u32 = 960;

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
    page: Page,
    _camera: Running,
    feed: Arc<Feed>,
    hub: Arc<Hub>,
}

struct Desk {
    pictures: Arc<Pictures>,
    board: Arc<Mutex<Board>>,
}

/// What is asked of a track.
#[derive(serde::Deserialize)]
struct Asked {
    switch: Switch,
}

impl Monitor {
    /// Listens on the loopback address.
    ///
    /// # Errors
    /// The port is taken.
    pub(super) fn start(port: u16, hub: &Arc<Hub>, board: &Arc<Mutex<Board>>) -> Result<Self> {
        let (pipeline, feed, pictures) = camera()?;
        let board = Arc::clone(board);
        let page = Page::start(port, "--monitor", Arc::new(Desk { pictures, board }))?;
        hub.add(&feed);
        pipeline
            .set_state(gst::State::Playing)
            .context("the monitor's encoder does not start")?;
        Ok(Self {
            page,
            _camera: pipeline,
            feed,
            hub: Arc::clone(hub),
        })
    }

    /// Where the page is.
    pub(super) fn address(&self) -> String {
        self.page.address()
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
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

impl Answers for Desk {
    fn answer(&self, request: &mut Request, path: &str, query: &str) -> Reply {
        match (request.method(), path) {
            (Method::Get, "/") => part("text/html; charset=utf-8", include_str!("page.html")),
            (Method::Get, "/page.js") => part("text/javascript; charset=utf-8", include_str!("page.js")),
            (Method::Get, "/page.css") => part("text/css; charset=utf-8", include_str!("page.css")),
            (Method::Get, "/state.json") => part("application/json", &lock(&self.board).json().to_string()),
            (Method::Get, "/picture.jpg") => self.picture(query),
            (Method::Post, path) => match path.strip_prefix("/tracks/").and_then(|id| id.parse().ok()) {
                Some(track) => self.switch(track, request),
                None => text(404, "nothing of that name"),
            },
            _ => text(404, "nothing of that name"),
        }
    }
}

impl Desk {
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
        let asked = match body::<Asked>(request) {
            Err(reply) => return *reply,
            Ok(asked) => asked,
        };
        match lock(&self.board).switch(track, asked.switch) {
            Ok(()) => text(200, "done"),
            Err(NotSwitched::NoTrack) => text(404, "no such track"),
            Err(NotSwitched::NotAllowed) => text(403, "the session was not started with --allow-keep"),
        }
    }
}
