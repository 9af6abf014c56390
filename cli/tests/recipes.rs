//! The recipes of `examples/recipes`, each run against the real thing, with the plugin as GStreamer's
//! tools find it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base64::Engine;
use gst_rtsp_server::prelude::*;
use nullface::backend::{Backend, BackendConfig};
use nullface::frame::{BoxPx, FrameInfo, FrameView, Matrix, PixelFormat, Plane, Range};
use nullface::stages::detect::CenterFace;
use support::browser::Browser;
use support::live::{Running, ask, free_port, port_of, rtmp_server, until};
use support::{Bench, stream, streams, text};

/// The threshold at which a detector's finding counts as a face.
const THRESHOLD: f32 = 0.5;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().expect("root")
}

fn interview() -> PathBuf {
    root().join("tests/data/interview.mp4")
}

/// A recipe, with a folder that holds this build's plugin and nothing else on the plugin path.
fn recipe(bench: &Bench, name: &str) -> Command {
    let folder = bench.path("plugins");
    std::fs::create_dir_all(&folder).expect("folder");
    let library = folder.join("libgstnullface.so");
    if !library.exists() {
        let tests = std::env::current_exe().expect("this test").parent().expect("its folder").to_owned();
        std::os::unix::fs::symlink(tests.join("libgstnullface.so"), &library).expect("the plugin was built");
    }
    let mut command = Command::new(root().join("examples/recipes").join(name));
    command
        .env("GST_PLUGIN_PATH", folder)
        .env("GST_REGISTRY_1_0", bench.path("registry.bin"))
        .env("NULLFACE_MODELS", root().join("models/small"))
        .env("NULLFACE_ORT_LIBRARY", root().join(".deps/onnxruntime/lib/libonnxruntime.so"))
        .env("G_DEBUG", "fatal-criticals");
    command
}

/// Share of every `every`-th frame in which the detector finds a face.
fn share_with_faces(film: &Path, every: usize) -> f64 {
    let size = stream(film, "v:0");
    let side = |name: &str| u32::try_from(size[name].as_u64().expect("a size")).expect("a size");
    let (width, height) = (side("width"), side("height"));
    let mut decode = Command::new("ffmpeg")
        .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-i", text(film)])
        .args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("ffmpeg starts");
    let mut raw = decode.stdout.take().expect("stdout");
    let backend = Backend::open(&BackendConfig::default()).expect("backend");
    let mut judge = CenterFace::open(&backend).expect("detector");
    let info = FrameInfo {
        format: PixelFormat::Rgb,
        width,
        height,
        matrix: Matrix::Bt709,
        range: Range::Full,
    };
    let whole = BoxPx {
        x0: 0.0,
        y0: 0.0,
        x1: width as f32,
        y1: height as f32,
    };
    let stride = width as usize * 3;
    let mut pixels = vec![0; stride * height as usize];
    let (mut n, mut looked, mut with) = (0, 0, 0);
    while raw.read_exact(&mut pixels).is_ok() {
        if n % every == 0 {
            let view = FrameView::new(info, &[Plane { data: &pixels, stride }]).expect("a view");
            let faces = judge.look(&view, &whole, 1.0, THRESHOLD).expect("looks");
            looked += 1;
            with += usize::from(!faces.is_empty());
        }
        n += 1;
    }
    decode.wait().expect("ffmpeg ends");
    assert!(looked >= 5, "only {looked} frames of {}", film.display());
    with as f64 / looked as f64
}

#[test]
fn a_film_to_a_film_keeps_its_sound_and_shows_no_face() {
    let bench = Bench::new();
    let out = bench.path("out.mp4");
    let status = recipe(&bench, "file_to_file.sh")
        .args([&interview(), &out])
        .env("MODE", "solid")
        .status()
        .expect("the recipe");
    assert!(status.success());
    assert_eq!(streams(&out, "a"), streams(&interview(), "a"));
    let (before, after) = (share_with_faces(&interview(), 10), share_with_faces(&out, 3));
    assert!(before > 0.9, "the source shows a face in {before} of its frames");
    assert_eq!(after, 0.0, "exposure rate");
}

#[test]
fn a_test_picture_comes_to_a_window() {
    let bench = Bench::new();
    let mut screen = Command::new("Xvfb")
        // Without `-noreset` it begins anew when its last client leaves, and refuses whoever comes meanwhile:
        // autovideosink tries one sink after the other.
        .args(["-displayfd", "1", "-screen", "0", "640x480x24", "-nolisten", "tcp", "-noreset"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("Xvfb starts");
    let mut display = String::new();
    BufReader::new(screen.stdout.take().expect("stdout"))
        .read_line(&mut display)
        .expect("a display");
    let display = format!(":{}", display.trim());
    let mut command = recipe(&bench, "test_to_window.sh");
    command.env("DISPLAY", &display).env_remove("WAYLAND_DISPLAY");
    let mut window = Running::start(command);
    until("the window shows the colour bars", || {
        window.goes_on();
        let shot = bench.path("screen.ppm");
        let taken = Command::new("ffmpeg")
            .args([
                "-hide_banner",
                "-loglevel",
                "error",
                "-nostdin",
                "-y",
                "-f",
                "x11grab",
                "-video_size",
                "640x480",
            ])
            .args(["-i", &display, "-frames:v", "1", text(&shot)])
            .status()
            .expect("ffmpeg starts");
        let pixels = std::fs::read(&shot).unwrap_or_default();
        let colours: std::collections::HashSet<&[u8]> = pixels.chunks(3).collect();
        taken.success() && colours.len() > 8
    });
    drop(window);
    screen.kill().expect("Xvfb ends");
    screen.wait().expect("Xvfb ends");
}

/// Serves the sample film over and over, faces and all, as a camera would.
fn rtsp_camera() -> (u16, gst::glib::MainLoop) {
    gst::init().expect("GStreamer");
    let context = gst::glib::MainContext::new();
    let server = gst_rtsp_server::RTSPServer::new();
    server.set_address("127.0.0.1");
    server.set_service("0");
    let factory = gst_rtsp_server::RTSPMediaFactory::new();
    factory.set_shared(true);
    factory.set_launch(&format!(
        "( multifilesrc location={} loop=true ! qtdemux ! h264parse ! avdec_h264 ! identity sync=true ! videoconvert \
         ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=25 ! rtph264pay name=pay0 config-interval=-1 )",
        interview().display()
    ));
    server.mount_points().expect("mount points").add_factory("/camera", factory);
    server.attach(Some(&context)).expect("attaches");
    let port = u16::try_from(server.bound_port()).expect("a port");
    let main_loop = gst::glib::MainLoop::new(Some(&context), false);
    let running = main_loop.clone();
    std::thread::spawn(move || {
        let _server = server;
        context.with_thread_default(|| running.run()).expect("the loop runs");
    });
    (port, main_loop)
}

#[test]
fn a_camera_by_rtsp_goes_to_an_rtmp_server_without_a_face() {
    let bench = Bench::new();
    let (camera, main_loop) = rtsp_camera();
    let port = free_port();
    let _server = rtmp_server(&bench.path("nginx"), port);
    let (from, to) = (
        format!("rtsp://127.0.0.1:{camera}/camera"),
        format!("rtmp://127.0.0.1:{port}/live/out"),
    );
    let mut command = recipe(&bench, "rtsp_to_rtmp.sh");
    command.args([&from, &to]).env("MODE", "solid");
    let _running = Running::start(command);
    let back = bench.path("back.flv");
    until("the stream can be read back", || {
        let output = Command::new("ffmpeg")
            .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y", "-rw_timeout", "20000000"])
            .args(["-i", &to, "-t", "4", "-c", "copy", text(&back)])
            .output()
            .expect("ffmpeg starts");
        output.status.success() && back.metadata().is_ok_and(|m| m.len() > 20_000)
    });
    main_loop.quit();
    assert_eq!(share_with_faces(&back, 1), 0.0, "exposure rate");
}

#[test]
fn srt_is_relayed_without_a_face() {
    let bench = Bench::new();
    let (first, second) = (free_port(), free_port());
    let mut sender = Command::new("ffmpeg");
    sender
        .args([
            "-hide_banner",
            "-loglevel",
            "error",
            "-nostdin",
            "-re",
            "-stream_loop",
            "-1",
            "-i",
            text(&interview()),
        ])
        .args([
            "-an",
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-tune",
            "zerolatency",
            "-g",
            "25",
            "-f",
            "mpegts",
        ])
        .arg(format!("srt://127.0.0.1:{first}?mode=listener"));
    let _sender = Running::start(sender);
    let mut relay = recipe(&bench, "srt_relay.sh");
    relay
        .args([
            format!("srt://127.0.0.1:{first}"),
            format!("srt://127.0.0.1:{second}?mode=listener"),
        ])
        .env("MODE", "solid");
    let _relay = Running::start(relay);
    let back = bench.path("back.ts");
    until("the relay can be read", || {
        let output = Command::new("ffmpeg")
            .args(["-hide_banner", "-loglevel", "error", "-nostdin", "-y"])
            .args(["-i", &format!("srt://127.0.0.1:{second}"), "-t", "4", "-c", "copy", text(&back)])
            .output()
            .expect("ffmpeg starts");
        output.status.success() && back.metadata().is_ok_and(|m| m.len() > 20_000)
    });
    assert_eq!(share_with_faces(&back, 1), 0.0, "exposure rate");
}

/// Script that waits for the video's next frame; the frame as PNG in base64, and how many colours it has.
const NEXT_FRAME: &str = "new Promise((done) => { const video = document.getElementById('picture'); \
     video.requestVideoFrameCallback(() => { const c = document.createElement('canvas'); \
     [c.width, c.height] = [video.videoWidth, video.videoHeight]; const g = c.getContext('2d'); g.drawImage(video, 0, 0); \
     const colours = new Set(new Uint32Array(g.getImageData(0, 0, c.width, c.height).data.buffer)).size; \
     done({ colours, png: c.toDataURL('image/png').split(',')[1] }); }); })";

#[test]
fn a_browser_plays_the_picture_by_webrtc_and_shows_no_face() {
    let bench = Bench::new();
    let mut command = recipe(&bench, "webrtc_to_browser.py");
    let source = format!(
        "multifilesrc location={} loop=true ! qtdemux ! h264parse ! avdec_h264 ! identity sync=true",
        interview().display()
    );
    command.arg("0").env("MODE", "solid").env("SOURCE", source);
    let mut running = Running::start(command);
    let line = running.wait_for("open http://127.0.0.1:");
    let address = line.trim_start_matches("open ");
    let port = port_of(address);
    assert_eq!(ask(port, "GET /", &[("Host", "evil.example")], "").status, 403);
    // Another page's script may post words here, but not SDP.
    let forged = ask(port, "POST /whep", &[("Content-Type", "text/plain")], "v=0");
    assert_eq!(forged.status, 400);
    let nonsense = ask(port, "POST /whep", &[("Content-Type", "application/sdp")], "v=0");
    assert!(nonsense.status == 400 && String::from_utf8_lossy(&nonsense.body).contains("VP8"));

    let mut page = Browser::open(&bench.path(""), address, (640, 480));
    page.until("typeof link !== 'undefined' && link.connectionState === 'connected'");
    // Who comes again takes their own place.
    page.call("Page.navigate", serde_json::json!({ "url": address }));
    page.until("document.getElementById('picture')?.currentTime > 1");
    page.until("link.getStats().then((all) => [...all.values()].some((s) => s.type === 'inbound-rtp' && s.framesDecoded > 10))");
    let mut seen = std::collections::HashSet::new();
    for n in 0..15 {
        let frame = page.eval(NEXT_FRAME);
        assert!(frame["colours"].as_u64() > Some(2000), "frame {n} has {} colours", frame["colours"]);
        let png = frame["png"].as_str().expect("a picture");
        let png = base64::engine::general_purpose::STANDARD.decode(png).expect("base64");
        std::fs::write(bench.path(&format!("{n:03}.png")), &png).expect("kept");
        seen.insert(png);
    }
    running.goes_on();
    assert!(seen.len() > 10, "{} frames of 15 are different", seen.len());
    let frames = bench.path("%03d.png");
    assert_eq!(stream(&frames, "v:0")["width"], 400);
    assert_eq!(share_with_faces(&frames, 1), 0.0, "exposure rate");
}

#[test]
fn a_virtual_camera_that_is_not_there_is_an_error_and_not_a_crash() {
    let bench = Bench::new();
    let output = recipe(&bench, "virtual_camera.sh")
        .args(["/dev/video97", "/dev/video98"])
        .output()
        .expect("the recipe");
    assert!(!output.status.success());
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("/dev/video9"),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn an_installation_works_from_where_it_lies() {
    let bench = Bench::new();
    let (built, prefix) = (bench.path("built"), bench.path("prefix"));
    std::fs::create_dir_all(&built).expect("folder");
    let tests = std::env::current_exe().expect("this test").parent().expect("its folder").to_owned();
    for (from, name) in [
        (PathBuf::from(env!("CARGO_BIN_EXE_nullface")), "nullface"),
        (tests.join("libgstnullface.so"), "libgstnullface.so"),
    ] {
        std::os::unix::fs::symlink(from, built.join(name)).expect("link");
    }
    let installed = Command::new(root().join("scripts/install.sh"))
        .arg(&prefix)
        .env("BUILT", &built)
        .status()
        .expect("installs");
    assert!(installed.success());
    let plain = |program: &Path| {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", bench.path("home"))
            .current_dir("/");
        command
            .env("GST_PLUGIN_PATH", prefix.join("lib/gstreamer-1.0"))
            .env("GST_REGISTRY_1_0", bench.path("registry"));
        command
    };
    let out = bench.path("out.mkv");
    let launched = plain(Path::new("gst-launch-1.0"))
        .args("-q videotestsrc num-buffers=5 ! nullfacefilter mode=ksame ! videoconvert ! x264enc ! matroskamux ! filesink".split(' '))
        .arg(format!("location={}", out.display()))
        .output()
        .expect("gst-launch-1.0 starts");
    assert!(launched.status.success(), "{}", String::from_utf8_lossy(&launched.stderr));
    assert!(out.metadata().is_ok_and(|m| m.len() > 500));
    let doctor = plain(&prefix.join("bin/nullface")).arg("doctor").output().expect("the doctor");
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(doctor.status.success(), "{said}");
    assert!(said.contains(text(&prefix)), "{said}");
}
