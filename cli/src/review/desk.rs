//! What the page asks for. Everything but the way in needs the cookie, every change the token too.
//!
//! | request | answer |
//! |---|---|
//! | `GET /?key=TICKET` | the cookie, and on to `/` |
//! | `GET /`, `/page.js`, `/picture.js`, `/page.css` | the page |
//! | `GET /state.json`, `/rendering.json` | tracks and suspects; how the rendering goes |
//! | `GET /frame.jpg?at=S`, `?after=S`, `?before=S` | a frame; its time in `X-At`, the next one's in `X-Next`, seconds |
//! | `GET /strip.jpg?at=S` | the same, decoded apart, so that the film strip does not disturb playing |
//! | `GET /boxes.json?at=S` | boxes at a moment, as they will be treated |
//! | `POST /edit` | an [`Edit`]; the new state |
//! | `POST /save`, `/render`, `/cancel`, `/close` | done; the state |

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use nullface::frame::Pts;
use serde_json::Value;
use tiny_http::{Method, Request, Response};

use super::access::Access;
use super::args::Args;
use super::edits::{Edit, Edits};
use super::frames::{Frames, Which};
use super::rendering::Rendering;
use crate::exit::Exit;
use crate::film::Film;
use crate::loopback::{Answers, Reply, body, header, part, text, with_header, with_headers};

/// Latest moment that is asked for, seconds: as late as a track file's.
const LATEST_S: f64 = 9.0e6;

/// What is behind the page.
pub(super) struct Desk {
    args: Args,
    film: Film,
    access: Access,
    address: Mutex<String>,
    edits: Mutex<Edits>,
    player: Mutex<Option<Frames>>,
    strip: Mutex<Option<Frames>>,
    rendering: Rendering,
    closed: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Desk {
    /// For a film and its tracks.
    pub(super) fn new(args: &Args, film: Film, edits: Edits) -> Self {
        Self {
            args: args.clone(),
            rendering: Rendering::of(film.duration),
            film,
            access: Access::new(),
            address: Mutex::default(),
            edits: Mutex::new(edits),
            player: Mutex::default(),
            strip: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Says where the page is.
    pub(super) fn served_at(&self, address: String) {
        *lock(&self.address) = address;
    }

    /// Where a browser finds the page; serves once.
    pub(super) fn address(&self) -> String {
        format!("{}{}", lock(&self.address), self.access.query())
    }

    /// Whether the page was told to close.
    pub(super) fn closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether the file holds all edits.
    pub(super) fn saved(&self) -> bool {
        lock(&self.edits).saved()
    }

    /// Ends a rendering that runs; what the last one ended as.
    pub(super) fn finish(&self) -> Option<Exit> {
        self.rendering.finish()
    }

    fn enter(&self, query: &str, known: bool) -> Reply {
        let on = |more: &[(&str, &str)]| {
            let headers = [&[("Location", "/")], more].concat();
            with_headers(Response::from_data(Vec::new()).with_status_code(303), &headers)
        };
        match self.access.enter(query) {
            Some(cookie) => {
                eprintln!("nullface: in another window: {}", self.address());
                on(&[("Set-Cookie", &cookie)])
            }
            None if known => on(&[]),
            None => text(403, "this address has served already; open the last one that was printed"),
        }
    }

    fn state(&self) -> Reply {
        let mut state = lock(&self.edits).state();
        if let Value::Object(fields) = &mut state {
            let name = |path: &std::path::Path| path.file_name().map(|n| n.to_string_lossy().into_owned());
            fields.insert("output".to_owned(), name(&self.args.output).into());
            fields.insert("tracks_file".to_owned(), name(&self.args.tracks()).into());
        }
        json(&state)
    }

    fn frame(&self, frames: &Mutex<Option<Frames>>, query: &str) -> Reply {
        let Some(which) = which(query) else {
            return text(400, "expected at, after or before = seconds of the film");
        };
        let mut frames = lock(frames);
        let mut shown = || -> Result<_> {
            let open = match frames.take() {
                Some(open) => open,
                None => Frames::open(&self.film)?,
            };
            // After an error it is opened anew.
            frames.insert(open).show(which)
        };
        match shown() {
            Err(why) => {
                *frames = None;
                text(500, &format!("{why:#}"))
            }
            Ok(shown) => {
                let mut reply = with_headers(
                    Response::from_data(shown.jpeg),
                    &[("Content-Type", "image/jpeg"), ("X-At", &shown.at.seconds().to_string())],
                );
                if let Some(next) = shown.next {
                    reply = with_header(reply, "X-Next", &next.seconds().to_string());
                }
                reply
            }
        }
    }

    fn change(&self, path: &str, request: &mut Request) -> Reply {
        let refused = |why: anyhow::Error| text(409, &format!("{why:#}"));
        match path {
            "/edit" => {
                let edit: Edit = match body(request) {
                    Ok(edit) => edit,
                    Err(reply) => return *reply,
                };
                if let Err(why) = lock(&self.edits).edit(edit) {
                    return text(409, &format!("{why}; {}", why.remedy()));
                }
            }
            "/save" => {
                if let Err(why) = lock(&self.edits).save() {
                    return refused(why);
                }
            }
            "/render" => {
                let saved = lock(&self.edits).save();
                if let Err(why) = saved.and_then(|()| self.rendering.start(self.args.rendering(self.rendering.made()))) {
                    return refused(why);
                }
            }
            "/cancel" => self.rendering.cancel(),
            "/close" => self.closed.store(true, Ordering::Release),
            _ => return text(404, "nothing of that name"),
        }
        self.state()
    }
}

impl Answers for Desk {
    fn answer(&self, request: &mut Request, path: &str, query: &str) -> Reply {
        let known = self.access.knows(header(request, "Cookie").as_deref());
        if path == "/" && *request.method() == Method::Get && !query.is_empty() {
            return self.enter(query, known);
        }
        if !known {
            return text(403, "open the address that `nullface review` printed");
        }
        match (request.method(), path) {
            (Method::Get, "/") => part(
                "text/html; charset=utf-8",
                &include_str!("page.html").replace("{token}", self.access.token()),
            ),
            (Method::Get, "/page.js") => part("text/javascript; charset=utf-8", include_str!("page.js")),
            (Method::Get, "/picture.js") => part("text/javascript; charset=utf-8", include_str!("picture.js")),
            (Method::Get, "/page.css") => part("text/css; charset=utf-8", include_str!("page.css")),
            (Method::Get, "/state.json") => self.state(),
            (Method::Get, "/rendering.json") => json(&self.rendering.state()),
            (Method::Get, "/frame.jpg") => self.frame(&self.player, query),
            (Method::Get, "/strip.jpg") => self.frame(&self.strip, query),
            (Method::Get, "/boxes.json") => match which(query) {
                Some(Which::At(at)) => json(&lock(&self.edits).boxes(at)),
                _ => text(400, "expected at = seconds of the film"),
            },
            (Method::Post, path) => {
                if !self.access.may_change(header(request, "X-Token").as_deref()) {
                    return text(403, "a change needs the page's token");
                }
                self.change(path, request)
            }
            _ => text(404, "nothing of that name"),
        }
    }
}

fn json(value: &Value) -> Reply {
    part("application/json", &value.to_string())
}

fn which(query: &str) -> Option<Which> {
    let (word, seconds) = query.split_once('=')?;
    let seconds: f64 = seconds.parse().ok().filter(|s| (0.0..=LATEST_S).contains(s))?;
    let at = Pts::from_seconds(seconds);
    match word {
        "at" => Some(Which::At(at)),
        "after" => Some(Which::After(at)),
        "before" => Some(Which::Before(at)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Which, which};
    use nullface::frame::Pts;

    #[test]
    fn moments_are_read_to_the_nanosecond_and_what_is_none_is_refused() {
        let exact = Pts(33_366_700_001);
        assert_eq!(which(&format!("after={}", exact.seconds())), Some(Which::After(exact)));
        assert_eq!(which("at=1e-9"), Some(Which::At(Pts(1))));
        for wrong in ["", "at", "at=", "at=-1", "at=NaN", "at=1e300", "at=1&before=2", "frame=1"] {
            assert_eq!(which(wrong), None, "{wrong}");
        }
    }
}
