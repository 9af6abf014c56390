//! The monitor page: who may ask, what it answers, what a browser makes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::Path;

use serde_json::Value;
use support::browser::Browser;
use support::live::{Running, ask, port_of, until};
use support::{Bench, text};

/// A session over the sample film, and the page's port.
fn session(args: &[&str]) -> (Running, u16) {
    let film = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/interview.mp4");
    let source = format!("file:{}", text(&film));
    let mut all = vec!["--source", source.as_str(), "--sink", "none", "--monitor", "0"];
    all.extend(args);
    let mut live = Running::live(&all);
    let port = port_of(&live.wait_for("monitor at http://127.0.0.1:"));
    (live, port)
}

fn state(port: u16) -> Value {
    let answer = ask(port, "GET /state.json", &[], "");
    assert_eq!(answer.status, 200);
    serde_json::from_slice(&answer.body).expect("JSON")
}

fn wait_for_track(port: u16) -> u64 {
    let mut track = None;
    until("a track is seen", || {
        track = state(port)["tracks"]
            .as_array()
            .and_then(|t| t.iter().find(|t| t["here"] == true)?["track"].as_u64());
        track.is_some()
    });
    track.expect("a track")
}

/// What our own page would ask for a track.
fn switch(port: u16, track: u64, to: &str) -> u16 {
    let origin = format!("http://127.0.0.1:{port}");
    let body = format!(r#"{{"switch":"{to}"}}"#);
    ask(port, &format!("POST /tracks/{track}"), &[("Origin", &origin)], &body).status
}

#[test]
fn only_our_own_page_is_answered() {
    let (_live, port) = session(&[]);
    let host = format!("127.0.0.1:{port}");
    for path in ["/", "/page.js", "/page.css", "/state.json"] {
        let answer = ask(port, &format!("GET {path}"), &[], "");
        assert_eq!(answer.status, 200, "{path}");
        assert!(
            answer.head.to_lowercase().contains("content-security-policy: default-src 'none'"),
            "{}",
            answer.head
        );
    }
    let refused: [&[(&str, &str)]; 5] = [
        &[("Host", "evil.example")],
        &[("Host", "127.0.0.1:1")],
        &[("Host", &host), ("Origin", "http://evil.example")],
        &[("Host", &host), ("Origin", "null")],
        &[("Host", &host), ("Sec-Fetch-Site", "cross-site")],
    ];
    for headers in refused {
        for request in ["GET /", "GET /picture.jpg", "GET /state.json", "POST /tracks/1"] {
            let answer = ask(port, request, headers, r#"{"switch":"cover"}"#);
            assert_eq!(answer.status, 403, "{request} {headers:?}");
        }
    }
    assert_eq!(
        ask(port, "POST /tracks/1", &[], r#"{"switch":"cover"}"#).status,
        403,
        "a change without its page"
    );
    let other = std::net::TcpStream::connect(("127.0.0.2", port));
    assert!(other.is_err(), "it listens at one address only");
}

#[test]
fn a_switch_covers_one_track_with_one_colour() {
    let (_live, port) = session(&["--mode", "blur"]);
    let track = wait_for_track(port);
    assert_eq!(switch(port, track, "gone"), 400);
    assert_eq!(switch(port, 999_999, "cover"), 404);
    assert_eq!(switch(port, track, "cover"), 200);
    until("the element covers it", || {
        state(port)["tracks"].as_array().is_some_and(|t| {
            t.iter()
                .any(|t| t["switch"] == "cover" && t["rung"] == "solid" && t["reason"] == "policy")
        })
    });
}

#[test]
fn the_picture_is_a_jpeg_that_goes_on() {
    let (_live, port) = session(&[]);
    wait_for_track(port);
    let next = |after: u64| {
        let answer = ask(port, &format!("GET /picture.jpg?after={after}"), &[], "");
        assert_eq!(answer.status, 200);
        assert_eq!(&answer.body[..3], [0xff, 0xd8, 0xff]);
        let number = answer
            .head
            .lines()
            .find_map(|l| l.strip_prefix("X-Picture: "))
            .and_then(|n| n.parse().ok());
        number.expect("a number")
    };
    let first: u64 = next(0);
    assert!(next(first) > first);
}

#[test]
fn a_face_is_left_as_it_is_only_where_that_is_allowed_and_said() {
    let (_live, port) = session(&["--mode", "pixelate"]);
    assert_eq!(switch(port, wait_for_track(port), "off"), 403);
    assert_eq!(state(port)["allow_keep"], false);

    let bench = Bench::new();
    let trail = bench.path("trail.jsonl");
    let (mut live, port) = session(&["--mode", "pixelate", "--allow-keep", "--audit", text(&trail)]);
    let track = wait_for_track(port);
    assert_eq!(switch(port, track, "off"), 200);
    let of_track = |state: &Value| state["tracks"].as_array()?.iter().find(|t| t["track"] == track).cloned();
    until("the person is left as they are", || {
        let state = state(port);
        let said = state["line"].as_str().is_some_and(|l| l.contains("1 left as they are"));
        said && of_track(&state).is_some_and(|t| t["outcome"] == "kept" && t["reason"] == "hand" && t["choice"] == "hand")
    });
    assert_eq!(switch(port, track, "on"), 200);
    until("the person is anonymised again", || {
        of_track(&state(port)).is_some_and(|t| t["outcome"] == "covered" && t["switch"] == "on")
    });
    live.interrupt();
    assert_eq!(live.end().0, 0);
    let trail = std::fs::read_to_string(&trail).expect("a trail");
    assert!(trail.contains(r#""kept":"hand""#), "{trail}");
}

#[test]
fn a_browser_shows_picture_tracks_and_graphs() {
    let bench = Bench::new();
    let (_live, port) = session(&["--mode", "pixelate", "--allow-keep"]);
    wait_for_track(port);
    let mut page = Browser::open(&bench.path(""), &format!("http://127.0.0.1:{port}/"), (1280, 900));
    // What is asked of the page is what somebody sees: a picture that is loaded, a card, a line, a graph.
    page.until("document.getElementById('picture')?.naturalWidth > 0");
    page.until("/[1-9]\\d* fps in/.test(document.getElementById('line').textContent)");
    page.until("document.querySelectorAll('#tracks li:not(.gone) button').length >= 3");
    page.until("!document.getElementById('keep').hidden");
    page.until(
        "(() => { const c = document.getElementById('delay'); \
         return c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some((v, i) => i % 4 === 2 && v > 240); })()",
    );
    for word in ["Track ", "pixelate", "source: playing"] {
        page.until(&format!("document.body.innerText.includes('{word}')"));
    }
    page.eval("document.querySelector('#tracks li:not(.gone) button:nth-child(2)').click()");
    page.until("document.querySelector('#tracks li.covered button:nth-child(2)')?.ariaPressed === 'true'");
    // The picture itself, and not only its place: a photograph has thousands of colours, the page a few dozen.
    let colours = "(async () => { const image = new Image(); image.src = document.getElementById('picture').src; \
         await image.decode(); const c = document.createElement('canvas'); [c.width, c.height] = [image.width, image.height]; \
         const g = c.getContext('2d'); g.drawImage(image, 0, 0); \
         return new Set(new Uint32Array(g.getImageData(0, 0, c.width, c.height).data.buffer)).size; })().catch(() => 0)";
    page.until(&format!("{colours}.then((n) => n > 2000)"));
    let shot = page.screenshot();
    if let Some(keep) = std::env::var_os("NULLFACE_KEEP_SHOTS") {
        std::fs::write(Path::new(&keep).join("monitor.png"), &shot).expect("kept");
    }
    let mut reader = png::Decoder::new(std::io::Cursor::new(shot)).read_info().expect("PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("size")];
    let info = reader.next_frame(&mut pixels).expect("pixels");
    // The window's height; some browsers take their own bars off it.
    assert!(
        info.width == 1280 && (700..=900).contains(&info.height),
        "{}x{}",
        info.width,
        info.height
    );
}
