//! Pages on the loopback address: what listens, who may ask ([`guard`]), what every answer says of itself, and how
//! much of a request is read. What is on a page is its maker's business, who gives [`Answers`].
//!
//! Bodies are read to [`MAX_BODY`], addresses to [`MAX_ADDRESS`]; what is longer is refused unread.

mod guard;

use std::io::{Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Result, anyhow};
use tiny_http::{Header, Method, Request, Response, Server};

use guard::Asked;

/// Requests answered at the same time.
const ANSWERERS: usize = 4;
/// How often answerers look whether the page is closed.
const TICK: Duration = Duration::from_millis(200);
/// Longest body of a request, bytes.
pub(crate) const MAX_BODY: usize = 256 << 10;
/// Longest address with its query, bytes.
const MAX_ADDRESS: usize = 2048;

const POLICY: &str =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' blob:; frame-ancestors 'none'";

/// An answer.
pub(crate) type Reply = Response<Cursor<Vec<u8>>>;

/// What is on a page.
pub(crate) trait Answers: Send + Sync + 'static {
    /// Answers a request that passed the guard. `path` and `query` are the two parts of its address.
    fn answer(&self, request: &mut Request, path: &str, query: &str) -> Reply;
}

/// A page that is served until this is dropped.
#[derive(Debug)]
pub(crate) struct Page {
    port: u16,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Page {
    /// Listens on the loopback address; port 0 takes a free one. `flag` is the option that gave the port.
    ///
    /// # Errors
    /// The port is taken.
    pub(crate) fn start(port: u16, flag: &str, answers: Arc<dyn Answers>) -> Result<Self> {
        let server = Server::http(("127.0.0.1", port))
            .map_err(|e| anyhow!("{flag} {port}: the page cannot be served there: {e}; choose another port, or 0 for a free one"))?;
        let port = server.server_addr().to_ip().map_or(port, |address| address.port());
        let stop = Arc::<AtomicBool>::default();
        let server = Arc::new(server);
        let mut threads = Vec::with_capacity(ANSWERERS);
        for _ in 0..ANSWERERS {
            let (server, stop, answers) = (Arc::clone(&server), Arc::clone(&stop), Arc::clone(&answers));
            let work = move || {
                while !stop.load(Ordering::Acquire) {
                    if let Ok(Some(mut request)) = server.recv_timeout(TICK) {
                        let reply = answered(&*answers, &mut request, port);
                        // A browser that left needs no answer.
                        let _ = request.respond(reply);
                    }
                }
            };
            threads.push(std::thread::Builder::new().name("nullface-page".to_owned()).spawn(work)?);
        }
        Ok(Self { port, stop, threads })
    }

    /// Where the page is.
    pub(crate) fn address(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // A panic in it was said already.
            let _ = thread.join();
        }
    }
}

fn answered(answers: &dyn Answers, request: &mut Request, port: u16) -> Reply {
    let (host, origin, site) = (
        header(request, "Host"),
        header(request, "Origin"),
        header(request, "Sec-Fetch-Site"),
    );
    let asked = Asked {
        host: host.as_deref(),
        origin: origin.as_deref(),
        site: site.as_deref(),
        changes: *request.method() != Method::Get,
    };
    if let Some(why) = guard::refusal(asked, port) {
        return text(403, why);
    }
    if request.url().len() > MAX_ADDRESS {
        return text(414, "the address is too long");
    }
    let url = request.url().to_owned();
    let (path, query) = url.split_once('?').unwrap_or((&url, ""));
    answers.answer(request, path, query)
}

/// A header of a request.
pub(crate) fn header(request: &Request, name: &'static str) -> Option<String> {
    let found = request.headers().iter().find(|h| h.field.equiv(name));
    found.map(|h| h.value.as_str().to_owned())
}

/// The body of a request as JSON of a known shape.
///
/// # Errors
/// The answer that says why it is refused.
pub(crate) fn body<T: serde::de::DeserializeOwned>(request: &mut Request) -> Result<T, Box<Reply>> {
    let stated = request.body_length();
    read(request.as_reader(), stated).map_err(|(status, why)| Box::new(text(status, &why)))
}

fn read<T: serde::de::DeserializeOwned>(from: &mut dyn Read, stated: Option<usize>) -> Result<T, (u16, String)> {
    let too_long = || (413, format!("more than {MAX_BODY} bytes"));
    if stated.is_some_and(|n| n > MAX_BODY) {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    let read = from.take(MAX_BODY as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|e| (400, e.to_string()))?;
    if bytes.len() > MAX_BODY {
        return Err(too_long());
    }
    serde_json::from_slice(&bytes).map_err(|e| (400, format!("not what is expected here: {e}")))
}

/// An answer with the headers that every one has, and more.
pub(crate) fn with_headers(mut reply: Reply, headers: &[(&str, &str)]) -> Reply {
    let always = [
        ("Cache-Control", "no-store"),
        ("X-Content-Type-Options", "nosniff"),
        ("Cross-Origin-Resource-Policy", "same-origin"),
        ("Referrer-Policy", "no-referrer"),
        ("Content-Security-Policy", POLICY),
    ];
    for (name, value) in always.iter().chain(headers) {
        reply = with_header(reply, name, value);
    }
    reply
}

/// An answer with one more header.
pub(crate) fn with_header(mut reply: Reply, name: &str, value: &str) -> Reply {
    if let Ok(header) = Header::from_bytes(name, value) {
        reply.add_header(header);
    }
    reply
}

/// A part of a page.
pub(crate) fn part(kind: &str, body: &str) -> Reply {
    with_headers(Response::from_data(body.as_bytes()), &[("Content-Type", kind)])
}

/// Words.
pub(crate) fn text(status: u16, body: &str) -> Reply {
    with_headers(
        Response::from_data(body.as_bytes()).with_status_code(status),
        &[("Content-Type", "text/plain; charset=utf-8")],
    )
}

#[cfg(test)]
mod tests {
    use super::{MAX_BODY, read};

    #[test]
    fn a_body_is_read_to_its_limit_and_not_beyond() {
        let whole = format!("\"{}\"", "a".repeat(MAX_BODY - 2));
        assert_eq!(read::<String>(&mut whole.as_bytes(), None).map(|s| s.len()), Ok(MAX_BODY - 2));
        let longer = format!("{whole} ");
        for stated in [None, Some(longer.len()), Some(usize::MAX)] {
            let mut rest = longer.as_bytes();
            assert_eq!(read::<String>(&mut rest, stated).map_err(|e| e.0), Err(413));
            assert_eq!(
                rest.len() == longer.len(),
                stated.is_some(),
                "what is stated as too long is not read"
            );
        }
        let endless = &mut std::io::repeat(b' ');
        assert_eq!(read::<String>(endless, None).map_err(|e| e.0), Err(413));
    }

    #[test]
    fn what_is_not_expected_is_told() {
        for body in ["", "{", "{\"a\":1}"] {
            assert_eq!(read::<u64>(&mut body.as_bytes(), None).map_err(|e| e.0), Err(400), "{body}");
        }
    }
}
