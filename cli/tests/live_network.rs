//! `nullface live` over real servers on the loopback address: RTSP in, RTMP through nginx, SRT, RTSP
//! out; servers that die and come back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::path::Path;
use std::process::Command;

use support::live::{Running, free_port, rtmp_server, until};
use support::{Bench, PATTERN_AND_TONE, stream, text, times};

/// A test picture with its tone, served by `nullface live` itself.
fn rtsp_camera(port: u16) -> Running {
    let mut camera = Running::live(&[
        "--source",
        "test",
        "--sink",
        &format!("rtsp://127.0.0.1:{port}/camera"),
        "--mode",
        "solid",
    ]);
    camera.wait_for("serving rtsp://");
    camera
}

/// Records `seconds` of an address with ffmpeg, which knows nothing of this project.
fn record(address: &str, to: &Path, seconds: u32) {
    let mut tries = 0;
    until("the stream can be read", || {
        tries += 1;
        let output = Command::new("ffmpeg")
            .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-rw_timeout", "20000000"])
            .args(["-i", address, "-t", &seconds.to_string(), "-c", "copy", text(to)])
            .output()
            .expect("ffmpeg starts");
        assert!(tries < 40, "{}", String::from_utf8_lossy(&output.stderr));
        output.status.success() && to.metadata().is_ok_and(|m| m.len() > 10_000)
    });
}

#[test]
fn from_rtsp_to_an_rtmp_server_and_back() {
    let bench = Bench::new();
    let (camera_port, server_port) = (free_port(), free_port());
    let _camera = rtsp_camera(camera_port);
    let _server = rtmp_server(&bench.path("nginx"), server_port);
    let mut live = Running::live(&[
        "--source",
        &format!("rtsp://127.0.0.1:{camera_port}/camera"),
        "--sink",
        &format!("rtmp://127.0.0.1:{server_port}/live/out"),
    ]);
    live.wait_for("fps in");
    let back = bench.path("back.flv");
    // Who listens from the very first picture on may hear the sound begin too late to be told of it.
    until("the sound comes along", || {
        record(&format!("rtmp://127.0.0.1:{server_port}/live/out"), &back, 3);
        stream(&back, "a:0")["codec_name"] == "aac"
    });
    assert_eq!(stream(&back, "v:0")["codec_name"], "h264");
    assert_eq!(stream(&back, "v:0")["width"], 640);
    live.interrupt();
    assert_eq!(live.end().0, 0);
}

#[test]
fn a_camera_that_dies_and_comes_back_is_found_again_and_the_recording_goes_on() {
    let bench = Bench::new();
    let port = free_port();
    let out = bench.path("out.mkv");
    let camera = rtsp_camera(port);
    let mut live = Running::live(&[
        "--source",
        &format!("rtsp://127.0.0.1:{port}/camera"),
        "--sink",
        &format!("file:{}", text(&out)),
    ]);
    until("the recording grows", || out.metadata().is_ok_and(|m| m.len() > 30_000));
    drop(camera);
    live.wait_for("trying again");
    let before = out.metadata().expect("recording").len();
    let _camera = rtsp_camera(port);
    until("the recording grows again", || {
        out.metadata().is_ok_and(|m| m.len() > before + 60_000)
    });
    live.interrupt();
    let (code, said) = live.end();
    assert_eq!(code, 0, "{said}");
    let times = times(&out);
    assert!(times.windows(2).all(|t| t[0] < t[1]), "timestamps run on");
}

#[test]
fn what_is_served_by_rtsp_is_a_film_and_not_a_picture_now_and_then() {
    let bench = Bench::new();
    let port = free_port();
    let _camera = rtsp_camera(port);
    let film = bench.path("film.mkv");
    until("the stream can be read", || {
        let output = Command::new("ffmpeg")
            .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-rtsp_transport", "tcp"])
            .args([
                "-i",
                &format!("rtsp://127.0.0.1:{port}/camera"),
                "-map",
                "0:v",
                "-t",
                "3",
                "-c",
                "copy",
            ])
            .arg(&film)
            .output()
            .expect("ffmpeg starts");
        output.status.success() && times(&film).len() > 2
    });
    let mut gaps: Vec<f64> = times(&film).windows(2).map(|t| t[1] - t[0]).collect();
    gaps.sort_by(f64::total_cmp);
    let median = gaps[gaps.len() / 2];
    // Of 25 frames a second a busy machine may lose some.
    assert!(median <= 0.13, "a frame every {median} s: {gaps:?}");
}

#[test]
fn a_camera_that_falls_silent_without_a_word_is_opened_again() {
    let port = free_port();
    let camera = rtsp_camera(port);
    let mut live = Running::live(&[
        "--source",
        &format!("rtsp://127.0.0.1:{port}/camera"),
        "--sink",
        "none",
        "--source-timeout",
        "1",
        "--status-every",
        "1",
    ]);
    until("pictures come", || !live.wait_for("fps in").contains("0 fps in, 0 out"));
    // The network is cut: nothing is closed, nothing comes.
    let signal = |name: &str| {
        let pid = camera.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().expect("kill").success());
    };
    signal("-STOP");
    let said = live.wait_for("trying again");
    assert!(
        said.contains("stopped sending") || said.contains("ended") || said.contains("read"),
        "{said}"
    );
    signal("-CONT");
    until("pictures come again", || {
        let line = live.wait_for("fps in");
        !line.contains("fps in, 0 out") && !line.contains("source away") && !line.contains("source opening")
    });
    live.interrupt();
    assert_eq!(live.end().0, 0);
}

#[test]
fn a_server_that_refuses_dies_and_comes_back_gets_the_stream_again() {
    let bench = Bench::new();
    let port = free_port();
    let address = format!("rtmp://127.0.0.1:{port}/live/key");
    let mut live = Running::live(&["--source", "test", "--sink", &address, "--no-sound"]);
    let said = live.wait_for("trying again");
    assert!(
        said.contains("rtmp://") && !said.contains("key"),
        "stream keys are not printed: {said}"
    );
    let server = rtmp_server(&bench.path("one"), port);
    record(&address, &bench.path("one.flv"), 1);
    drop(server);
    live.wait_for("trying again");
    let _server = rtmp_server(&bench.path("two"), port);
    record(&address, &bench.path("two.flv"), 1);
    live.interrupt();
    assert_eq!(live.end().0, 0);
}

#[test]
fn srt_goes_out_and_comes_in() {
    let bench = Bench::new();
    let port = free_port();
    let out = bench.path("out.mkv");
    let _sender = {
        let mut sender = Running::live(&["--source", "test", "--sink", &format!("srt://127.0.0.1:{port}?mode=listener")]);
        sender.wait_for("fps in");
        sender
    };
    let mut receiver = Running::live(&[
        "--source",
        &format!("srt://127.0.0.1:{port}"),
        "--sink",
        &format!("file:{}", text(&out)),
        "--frames",
        "40",
    ]);
    let (code, said) = receiver.end();
    assert_eq!(code, 0, "{said}");
    assert_eq!(stream(&out, "v:0")["width"], 640);
    assert_eq!(stream(&out, "a:0")["codec_name"], "aac");
}

#[test]
fn caps_that_change_in_the_stream_keep_the_recording_whole() {
    let bench = Bench::new();
    let port = free_port();
    let out = bench.path("out.mkv");
    // Two films of different sizes, one after the other, from one server that dies in between.
    let films = [
        bench.film("a.mp4", &format!("{PATTERN_AND_TONE} -c:v libx264 -c:a aac")),
        bench.film("b.mp4", "-f lavfi -i testsrc2=size=320x176:rate=30:duration=2 -c:v libx264"),
    ];
    let serve = |film: &Path| {
        let mut server = Running::live(&[
            "--source",
            &format!("file:{}", text(film)),
            "--sink",
            &format!("rtsp://127.0.0.1:{port}/camera"),
        ]);
        server.wait_for("serving rtsp://");
        server
    };
    let first = serve(&films[0]);
    let mut live = Running::live(&[
        "--source",
        &format!("rtsp://127.0.0.1:{port}/camera"),
        "--sink",
        &format!("file:{}", text(&out)),
    ]);
    until("the recording grows", || out.metadata().is_ok_and(|m| m.len() > 20_000));
    drop(first);
    live.wait_for("trying again");
    let before = out.metadata().expect("recording").len();
    let _second = serve(&films[1]);
    until("the recording grows again", || {
        out.metadata().is_ok_and(|m| m.len() > before + 20_000)
    });
    live.interrupt();
    let (code, said) = live.end();
    assert_eq!(code, 0, "{said}");
    let picture = stream(&out, "v:0");
    assert_eq!(
        (picture["width"].as_u64(), picture["height"].as_u64()),
        (Some(160), Some(120)),
        "one size from the first to the last"
    );
}
