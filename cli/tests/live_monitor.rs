//! The monitor page: who may ask, what it answers, what a browser makes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::live::{Running, ask, until};
use support::{Bench, text};

/// A session over the sample film, and the page's port.
fn session(args: &[&str]) -> (Running, u16) {
    let film = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/interview.mp4");
    let source = format!("file:{}", text(&film));
    let mut all = vec!["--source", source.as_str(), "--sink", "none", "--monitor", "0"];
    all.extend(args);
    let mut live = Running::live(&all);
    let line = live.wait_for("monitor at http://127.0.0.1:");
    let port = line
        .trim_end_matches('/')
        .rsplit(':')
        .next()
        .and_then(|p| p.parse().ok())
        .expect("a port");
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
            let answer = ask(port, request, headers, r#"{"covered":true}"#);
            assert_eq!(answer.status, 403, "{request} {headers:?}");
        }
    }
    assert_eq!(
        ask(port, "POST /tracks/1", &[], r#"{"covered":true}"#).status,
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
    let origin = format!("http://127.0.0.1:{port}");
    let headers: &[(&str, &str)] = &[("Origin", &origin)];
    let post = |track: u64, body: &str| ask(port, &format!("POST /tracks/{track}"), headers, body).status;
    assert_eq!(post(track, "covered"), 400);
    assert_eq!(post(999_999, r#"{"covered":true}"#), 404);
    assert_eq!(post(track, r#"{"covered":true}"#), 200);
    until("the element covers it", || {
        state(port)["tracks"].as_array().is_some_and(|t| {
            t.iter()
                .any(|t| t["covered"] == true && t["rung"] == "solid" && t["reason"] == "policy")
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
fn a_browser_shows_picture_tracks_and_graphs() {
    let bench = Bench::new();
    let (_live, port) = session(&["--mode", "pixelate"]);
    wait_for_track(port);
    until("the status was told", || {
        state(port)["line"]
            .as_str()
            .is_some_and(|l| l.contains("fps in") && !l.starts_with("0 fps"))
    });
    let browser = |args: &[&str]| {
        let output = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--hide-scrollbars",
            ])
            .args(["--window-size=1280,900", "--virtual-time-budget=6000"])
            .arg(format!("--user-data-dir={}", bench.path("profile").display()))
            .args(args)
            .arg(format!("http://127.0.0.1:{port}/?still"))
            .env_remove("G_DEBUG")
            .output()
            .expect("chromium starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let page = String::from_utf8_lossy(&browser(&["--dump-dom"])).into_owned();
    for word in ["Track ", "pixelate", "fps in", "blob:http://127.0.0.1", "aria-pressed", "playing"] {
        assert!(page.contains(word), "`{word}` is not on the page:\n{page}");
    }
    let shot = bench.path("monitor.png");
    browser(&[&format!("--screenshot={}", shot.display())]);
    if let Some(keep) = std::env::var_os("NULLFACE_KEEP_SHOTS") {
        std::fs::copy(&shot, Path::new(&keep).join("monitor.png")).expect("kept");
    }
    let file = std::fs::File::open(&shot).expect("screenshot");
    let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("size")];
    let info = reader.next_frame(&mut pixels).expect("pixels");
    assert_eq!((info.width, info.height), (1280, 900));
    let colours: std::collections::HashSet<&[u8]> = pixels[..info.buffer_size()].chunks(3).collect();
    assert!(colours.len() > 2_000, "only {} colours: no picture on the page", colours.len());
}
