//! The review page: who may ask, frames at their times, edits and rendering as a person makes them in a browser.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::browser::Browser;
use support::live::{Answer, Running, ask, until};
use support::{Bench, nullface, records, text, times};

/// Two seconds without a face.
const WHITE: &str = "-f lavfi -i color=white:size=160x120:rate=25:duration=2 -c:v libx264";
/// A detection that was never sure, and begins and ends inside the picture.
const DOUBTFUL: &str = concat!(
    r#"{"record":"track","id":1,"person":1,"score":0.55,"#,
    r#""spans":[{"origin":"detected","keys":[[0.8,110,10,140,45],[1.2,110,10,140,45]]}]}"#,
    "\n"
);

/// A film of these ffmpeg arguments, and its track file: a face drawn by hand, and one that is suspect.
fn found(bench: &Bench, film: &str) -> (PathBuf, PathBuf) {
    let film = bench.film("in.mp4", film);
    let tracks = bench.path("in.tracks.jsonl");
    let run = nullface(&["tracks", "find", text(&film), "-o", text(&tracks), "--quiet"]);
    assert_eq!(run.code, 0, "{}", run.said);
    let run = nullface(&["tracks", "add", text(&tracks), "--from", "0", "--to", "1.96", "--box", "5,5,35,35"]);
    assert_eq!(run.code, 0, "{}", run.said);
    let with = std::fs::read_to_string(&tracks).expect("file") + DOUBTFUL;
    std::fs::write(&tracks, with).expect("written");
    (film, tracks)
}

/// A review, its address, and its port.
fn review(film: &Path, out: &Path, tracks: &Path) -> (Running, String, u16) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nullface"));
    command.arg("review").arg(film).arg("-o").arg(out).arg("--tracks").arg(tracks);
    command.args(["--quiet", "--", "--mode", "solid", "--size-limit", "0", "--max-fallback-share", "1"]);
    let mut running = Running::start(command);
    let line = running.wait_for("review at http://127.0.0.1:");
    let address = line.split("review at ").nth(1).expect("an address").to_owned();
    let port = address.split([':', '/']).nth(4).and_then(|p| p.parse().ok()).expect("a port");
    (running, address, port)
}

/// Cookie and token of somebody who was let in.
struct Entry {
    port: u16,
    cookie: String,
    token: String,
}

impl Entry {
    fn by(address: &str, port: u16) -> Self {
        let query = address.split('/').next_back().expect("a query");
        let answer = ask(port, &format!("GET /{query}"), &[], "");
        assert_eq!(answer.status, 303, "{}", answer.head);
        let set = answer.head.lines().find_map(|l| l.strip_prefix("Set-Cookie: ")).expect("a cookie");
        assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict"), "{set}");
        let cookie = set.split(';').next().expect("a pair").to_owned();
        let page = ask(port, "GET /", &[("Cookie", &cookie)], "");
        let page = String::from_utf8_lossy(&page.body).into_owned();
        let token = page
            .split("name=\"token\" content=\"")
            .nth(1)
            .and_then(|t| t.split('"').next())
            .expect("a token");
        Self {
            port,
            cookie,
            token: token.to_owned(),
        }
    }

    fn get(&self, path: &str) -> Answer {
        ask(self.port, &format!("GET {path}"), &[("Cookie", &self.cookie)], "")
    }

    fn post(&self, path: &str, body: &str) -> Answer {
        let origin = format!("http://127.0.0.1:{}", self.port);
        let headers = [("Cookie", self.cookie.as_str()), ("Origin", &origin), ("X-Token", &self.token)];
        ask(self.port, &format!("POST {path}"), &headers, body)
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_slice(&self.get(path).body).expect("JSON")
    }
}

/// Luma at a place, frame by frame.
fn luma(film: &Path) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args([
            "-v",
            "error",
            "-i",
            text(film),
            "-vf",
            "crop=2:2:70:60,format=gray",
            "-f",
            "rawvideo",
            "-",
        ])
        .output()
        .expect("ffmpeg starts");
    output.stdout.chunks(4).map(|c| c[0]).collect()
}

#[test]
fn a_face_marked_in_the_browser_is_in_the_file_and_in_the_film() {
    let bench = Bench::new();
    let (film, tracks) = found(&bench, WHITE);
    let out = bench.path("out.mkv");
    let (mut running, address, _) = review(&film, &out, &tracks);
    let mut page = Browser::open(&bench.path(""), &address, (1280, 1000));
    page.until("document.readyState === 'complete' && !location.search && byId('said').textContent !== 'Loading'");
    assert_eq!(page.eval("document.querySelectorAll('#tracks li').length"), 2);
    assert_eq!(page.eval("byId('suspects-title').textContent"), "Suspects: 3 of 3 to look at");
    page.key("n");
    page.until("now.at === 0.8 && chosen === 1 && byId('suspects-title').textContent.startsWith('Suspects: 2 of 3')");

    // Keep the first track.
    page.eval("document.querySelector('[data-focus=track-0]').click()");
    page.until("chosen === 0 && now.at === 0");
    page.key("k");
    page.until("track(0).decision === 'keep'");

    // Mark a face in two moments, the first found by stepping.
    let area = page.eval("(({ x, y, width, height }) => [x, y, width, height])(picture.getBoundingClientRect())");
    let area: Vec<f64> = area.as_array().expect("a rectangle").iter().filter_map(Value::as_f64).collect();
    let on_page = |x: f64, y: f64| (area[0] + x / 160.0 * area[2], area[1] + y / 120.0 * area[3]);
    let seek = |page: &mut Browser, at: &str| {
        page.eval(&format!(
            "byId('place').value = {at}; byId('place').dispatchEvent(new Event('input'))"
        ));
    };
    seek(&mut page, "0.37");
    page.until("now.at === 0.36");
    page.key(".");
    page.until("now.at === 0.4");
    page.drag(on_page(40.0, 30.0), on_page(90.0, 90.0));
    page.until("draft.length === 1");
    seek(&mut page, "0.84");
    page.until("now.at === 0.84");
    page.key(",");
    page.until("now.at === 0.8");
    page.drag(on_page(60.0, 30.0), on_page(110.0, 90.0));
    page.until("draft.length === 2");
    page.key("Enter");
    page.until("state.tracks.length === 3 && chosen === 2 && draft.length === 0");
    assert_eq!(page.eval("byId('save').textContent"), "Save");
    page.eval("byId('save').click()");
    page.until("state.saved");

    let saved = records(&tracks);
    assert_eq!(saved[1]["decision"], "keep");
    let marked = &saved[3];
    assert_eq!(
        (marked["id"].as_u64(), marked["spans"][0]["origin"].as_str()),
        (Some(2), Some("by-hand"))
    );
    let keys = marked["spans"][0]["keys"].as_array().expect("keys").clone();
    for (key, expected) in keys.iter().zip([[0.4, 40.0, 30.0, 90.0, 90.0], [0.8, 60.0, 30.0, 110.0, 90.0]]) {
        for (i, value) in expected.iter().enumerate() {
            let got = key[i].as_f64().expect("a number");
            let exact = if i == 0 { 1e-9 } else { 1.0 };
            assert!((got - value).abs() <= exact, "{key} is not {expected:?}");
        }
    }
    assert_eq!(keys.len(), 2);

    page.eval("byId('render').click()");
    page.until("byId('rendered').textContent.startsWith('done')");
    let dark: Vec<usize> = luma(&out).iter().enumerate().filter(|(_, v)| **v < 60).map(|(i, _)| i).collect();
    assert_eq!(dark, (10..=20).collect::<Vec<_>>());
    assert_eq!(times(&out).len(), times(&film).len());
    page.eval("byId('close').click()");
    assert_eq!(running.end().0, 0);
}

#[test]
fn tracks_are_merged_split_dropped_and_edits_undone_by_keys() {
    let bench = Bench::new();
    let (film, tracks) = found(&bench, WHITE);
    let before = std::fs::read_to_string(&tracks).expect("file");
    let (running, address, _) = review(&film, &bench.path("out.mkv"), &tracks);
    let mut page = Browser::open(&bench.path(""), &address, (1280, 1000));
    page.until("document.readyState === 'complete' && !location.search && byId('said').textContent !== 'Loading'");
    page.key("]");
    page.until("chosen === 0 && now.at === 0");
    page.key("ArrowRight");
    page.until("now.at === 1");
    page.key("s");
    page.until("state.tracks.length === 3 && track(2).spans[0][1] === 1");
    page.eval("byId('other').value = 2; byId('merge').click()");
    page.until("state.tracks.length === 2 && track(0).spans.at(-1)[2] === 1.96");
    page.key("c");
    page.until("track(0).decision === 'cover'");
    page.key("x");
    page.until("state.tracks.length === 1 && chosen === null");
    for left in [
        "state.undo === 3",
        "state.undo === 2",
        "state.undo === 1",
        "state.undo === 0 && state.saved",
    ] {
        page.key("u");
        page.until(left);
    }
    // A box without a pointer: put, moved, sized, discarded.
    page.key("m");
    page.until("draft.length === 1");
    let put = page.eval("draft[0].slice(1)");
    page.key("ArrowDown");
    page.until(&format!("draft[0][2] > {0} && draft[0][4] > {1}", put[1], put[3]));
    page.key("Escape");
    page.until("draft.length === 0");
    assert_eq!(std::fs::read_to_string(&tracks).expect("file"), before);
    running.interrupt();
}

#[test]
fn only_who_was_let_in_is_answered() {
    let bench = Bench::new();
    let (film, tracks) = found(&bench, WHITE);
    let (_running, address, port) = review(&film, &bench.path("out.mkv"), &tracks);
    let before = std::fs::read(&tracks).expect("file");
    let paths = [
        "/",
        "/page.js",
        "/state.json",
        "/frame.jpg?at=0",
        "/strip.jpg?at=0",
        "/boxes.json?at=0",
        "/?key=0",
    ];
    for path in paths {
        assert_eq!(ask(port, &format!("GET {path}"), &[], "").status, 403, "{path} without a ticket");
    }
    let entry = Entry::by(&address, port);
    let query = address.split('/').next_back().expect("a query");
    assert_eq!(ask(port, &format!("GET /{query}"), &[], "").status, 403, "the address serves once");
    for path in &paths[..6] {
        let answer = entry.get(path);
        assert_eq!(answer.status, 200, "{path}");
        let head = answer.head.to_lowercase();
        assert!(
            head.contains("cache-control: no-store") && head.contains("default-src 'none'"),
            "{head}"
        );
    }
    let origin = format!("http://127.0.0.1:{port}");
    let host = format!("127.0.0.1:{port}");
    let known = ("Cookie", entry.cookie.as_str());
    let token = ("X-Token", entry.token.as_str());
    let refused: [&[(&str, &str)]; 6] = [
        &[("Host", "evil.example"), ("Origin", &origin), known, token],
        &[("Host", &host), ("Origin", "http://evil.example"), known, token],
        &[("Host", &host), ("Origin", &origin), ("Sec-Fetch-Site", "cross-site"), known, token],
        &[("Host", &host), known, token],
        &[("Host", &host), ("Origin", &origin), known],
        &[("Host", &host), ("Origin", &origin), token],
    ];
    for headers in refused {
        for path in ["/edit", "/save", "/render", "/close"] {
            let answer = ask(port, &format!("POST {path}"), headers, r#"{"do":"drop","track":0}"#);
            assert_eq!(answer.status, 403, "{path} {headers:?}");
        }
    }
    assert_eq!(entry.json("/state.json")["tracks"].as_array().map(Vec::len), Some(2));
    assert_eq!(entry.post("/edit", r#"{"do":"sing"}"#).status, 400);
    let answer = entry.post("/edit", r#"{"do":"drop","track":7}"#);
    assert_eq!(
        (answer.status, String::from_utf8_lossy(&answer.body).contains("no track 7")),
        (409, true)
    );
    assert_eq!(entry.post("/edit", r#"{"do":"drop","track":0}"#).status, 200);
    assert_eq!(std::fs::read(&tracks).expect("file"), before, "only saving writes");

    // Somebody else's edit is not overwritten.
    let run = nullface(&["tracks", "decide", text(&tracks), "0", "cover"]);
    assert_eq!(run.code, 0, "{}", run.said);
    let answer = entry.post("/save", "");
    assert_eq!(answer.status, 409, "{}", String::from_utf8_lossy(&answer.body));
}

#[test]
fn frames_come_at_the_times_of_a_film_of_varying_rate_forwards_and_backwards() {
    let bench = Bench::new();
    let varying = "-f lavfi -i testsrc2=size=160x120:rate=25:duration=4 -vf select='not(between(mod(n\\,10)\\,3\\,6))' \
                   -vsync vfr -c:v libx264 -g 12 -bf 2";
    let (film, tracks) = found(&bench, varying);
    let (_running, address, port) = review(&film, &bench.path("out.mkv"), &tracks);
    let entry = Entry::by(&address, port);
    let expected = times(&film);
    let first = expected[0];
    let expected: Vec<f64> = expected.iter().map(|t| t - first).collect();
    let at = |query: &str| -> (f64, Option<f64>, Vec<u8>) {
        let answer = entry.get(&format!("/frame.jpg?{query}"));
        assert_eq!(answer.status, 200, "{query}: {}", String::from_utf8_lossy(&answer.body));
        let header = |name: &str| answer.head.lines().find_map(|l| l.strip_prefix(name)).and_then(|v| v.parse().ok());
        assert_eq!(answer.body[..3], [0xff, 0xd8, 0xff]);
        (header("X-At: ").expect("a time"), header("X-Next: "), answer.body)
    };
    let near = |a: f64, b: f64| (a - b).abs() < 1e-3;
    let mut pictures = vec![at("at=0").2];
    let mut now = 0.0;
    for (i, time) in expected.iter().enumerate().skip(1) {
        let (shown, next, picture) = at(&format!("after={now}"));
        assert!(near(shown, *time), "frame {i}: {shown} is not {time}");
        assert_eq!(next.is_some(), i + 1 < expected.len(), "frame {i}");
        assert!(next.is_none_or(|n| near(n, expected[i + 1])), "frame {i}: {next:?}");
        now = shown;
        pictures.push(picture);
    }
    assert!(pictures.windows(2).all(|w| w[0] != w[1]), "two frames are one picture");
    assert_eq!(at(&format!("after={now}")).0, now, "behind the last frame is none");
    for (i, time) in expected.iter().enumerate().rev().skip(1) {
        let (shown, _, picture) = at(&format!("before={now}"));
        assert!(near(shown, *time) && picture == pictures[i], "frame {i}: {shown} is not {time}");
        now = shown;
    }
    for i in [40, 3, 55, 0, 30, 12] {
        let between = expected[i] + 0.01;
        let (shown, _, picture) = at(&format!("at={between}"));
        assert!(
            near(shown, expected[i]) && picture == pictures[i],
            "frame {i}: {shown} for {between}"
        );
    }
}

#[test]
fn a_rendering_that_is_cancelled_leaves_nothing_and_another_may_follow() {
    let bench = Bench::new();
    let (film, tracks) = found(&bench, "-f lavfi -i color=white:size=320x240:rate=25:duration=12 -c:v libx264");
    let out = bench.path("out.mkv");
    let (mut running, address, port) = review(&film, &out, &tracks);
    let entry = Entry::by(&address, port);
    let state = || entry.json("/rendering.json")["state"].as_str().expect("a word").to_owned();
    assert_eq!(state(), "none");
    assert_eq!(entry.post("/render", "").status, 200);
    assert_eq!(entry.post("/render", "").status, 409, "one at a time");
    assert_eq!(entry.post("/cancel", "").status, 200);
    until("it is cancelled", || state() == "cancelled");
    assert!(
        !bench.names().iter().any(|n| n == "out.mkv" || n.ends_with(".part")),
        "{:?}",
        bench.names()
    );
    for _ in 0..2 {
        assert_eq!(entry.post("/render", "").status, 200);
        until("it is done", || state() != "running");
        assert_eq!(state(), "done", "{}", entry.json("/rendering.json"));
    }
    assert_eq!(times(&out).len(), 300);
    assert_eq!(entry.post("/close", "").status, 200);
    assert_eq!(running.end().0, 0);
}

#[test]
fn what_could_not_be_rendered_is_refused_before_anybody_looks() {
    let bench = Bench::new();
    let (film, tracks) = found(&bench, WHITE);
    let other = bench.film("other.mp4", "-f lavfi -i color=gray:size=160x120:rate=25:duration=1 -c:v libx264");
    let there = bench.path("there.mkv");
    std::fs::write(&there, "mine").expect("written");
    let (new, film, tracks) = (bench.path("new.mkv"), text(&film), text(&tracks));
    let (new, there) = (text(&new), text(&there));
    for (args, words) in [
        (
            vec![text(&other), "-o", new, "--tracks", tracks],
            ["in.tracks.jsonl", "of another film: of in.mp4"],
        ),
        (
            vec![film, "-o", there, "--tracks", tracks],
            ["there.mkv: it exists already", "--force"],
        ),
        (
            vec![film, "-o", "new.avi", "--tracks", tracks],
            ["nothing can be written as .avi", ".mkv"],
        ),
        (
            vec![film, "-o", film, "--force", "--tracks", tracks],
            ["it is the input itself", "another name"],
        ),
        (
            vec![film, "-o", new, "--tracks", tracks, "--", "--except", "anna.jpg"],
            ["in.tracks.jsonl was made already", "decide on the page"],
        ),
    ] {
        let run = nullface(&[&["review"], args.as_slice()].concat());
        assert_eq!(run.code, 1, "{}", run.said);
        assert!(words.iter().all(|w| run.said.contains(w)), "{words:?}: {}", run.said);
    }
    assert_eq!(std::fs::read(there).expect("file"), b"mine");
}
