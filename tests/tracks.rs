//! Track files that people wrote or broke: each is refused with the line, the field, what was expected and
//! what to do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

use nullface::frame::{BoxPx, Pts};
use nullface::tracks::{Decision, Key, Tracks, TracksError};

const HASH: &str = "ab54d286f7d1b9d9a6f6c2f1a4c7a5f3b0e9d8c7b6a5948372615049382716af";

fn header() -> String {
    format!(
        r#"{{"record":"header","format":"nullface-tracks","version":1,"film":"a.mp4","sha256":"{HASH}","width_px":320,"height_px":240,"frames":50,"rate":"25/1","first_s":0,"last_s":1.96}}"#
    )
}

fn track(id: u64, spans: &str) -> String {
    format!(r#"{{"record":"track","id":{id},"person":0,"score":0.9,"spans":[{spans}]}}"#)
}

fn span(keys: &str) -> String {
    format!(r#"{{"origin":"detected","keys":[{keys}]}}"#)
}

fn refused(lines: &[String]) -> TracksError {
    Tracks::parse(&lines.join("\n")).expect_err("refused")
}

#[test]
fn a_track_without_a_decision_is_anonymised() {
    let tracks = Tracks::parse(&[header(), track(4, &span("[0.2,10,10,50,60],[1,20,10,60,60]"))].join("\n")).expect("a track file");
    assert_eq!(tracks.track(4).expect("there").decision, Decision::Anonymise);
    assert_eq!(tracks.at(Pts::from_seconds(0.6))[0].box_px.x0, 15.0);
    assert!(tracks.at(Pts::from_seconds(0.19)).is_empty());
}

#[test]
fn what_is_impossible_is_named_by_line_and_field() {
    let key = "[0.2,10,10,50,60]";
    for (spans, words) in [
        (span("[0.4,10,10,50,60],[0.2,10,10,50,60]"), ["spans[0].keys[1]", "later than"]),
        (span("[0.4,10,10,50,60],[0.4,10,10,50,60]"), ["spans[0].keys[1]", "later than"]),
        (
            format!("{},{}", span("[0.1,1,1,9,9],[0.5,1,1,9,9]"), span("[0.4,1,1,9,9]")),
            ["spans[1]", "no earlier than 0.5 s"],
        ),
        (span("[-1,10,10,50,60]"), ["spans[0].keys[0]", "0 or more"]),
        (span("[600,10,10,50,60]"), ["spans[0].keys[0]", "ends at 1.96 s"]),
        (span("[0.2,50,10,10,60]"), ["spans[0].keys[0]", "left < right"]),
        (span("[0.2,400,10,450,60]"), ["spans[0].keys[0]", "picture of 320 x 240 px"]),
        (span("[0.2,10,10,1e30,60]"), ["spans[0].keys[0]", "picture of 320 x 240 px"]),
        (span(""), ["spans[0].keys", "at least one"]),
        (String::new(), ["spans", "at least one"]),
    ] {
        let error = refused(&[header(), track(0, &span(key)), track(1, &spans)]);
        let said = error.to_string();
        assert!(said.starts_with("line 3, ") && words.iter().all(|w| said.contains(w)), "{said}");
        assert!(error.remedy().contains("that line"));
    }
    let said = refused(&[header(), track(1, &span(key)), track(1, &span(key))]).to_string();
    assert!(said.contains("line 3, id") && said.contains("no other track"), "{said}");
}

#[test]
fn lines_that_are_no_records_are_named() {
    for (line, words) in [
        ("{\"record\":\"track\"", "line 2: EOF"),
        ("words", "line 2: expected value"),
        ("{\"record\":\"person\"}", "line 2: unknown variant"),
        ("{\"record\":\"withheld\",\"from_s\":2,\"to_s\":1}", "line 2, to_s"),
        (
            "{\"record\":\"track\",\"id\":1,\"person\":0,\"score\":0.5,\"spans\":[],\"embedding\":[1]}",
            "line 2: unknown field `embedding`",
        ),
    ] {
        let said = refused(&[header(), line.to_owned()]).to_string();
        assert!(said.contains(words), "{said}");
    }
    let said = refused(&[header(), header()]).to_string();
    assert!(said.contains("line 2: a second header"), "{said}");
}

#[test]
fn another_version_another_film_and_no_track_file_at_all_are_told_apart() {
    let newer = header().replace("\"version\":1", "\"version\":7,\"more\":true");
    assert_eq!(refused(&[newer]), TracksError::Version(7));
    for first in ["", "{\"record\":\"header\",\"layout\":2}", "[]"] {
        assert!(matches!(refused(&[first.to_owned()]), TracksError::Line { line: 1, .. }), "{first}");
    }
    let tracks = Tracks::parse(&header()).expect("a header");
    assert!(tracks.check_film(&HASH.to_uppercase()).is_ok());
    let error = tracks.check_film(&"1".repeat(64)).expect_err("another");
    assert!(error.to_string().contains("a.mp4") && error.to_string().contains(HASH), "{error}");
}

#[test]
fn an_edit_that_is_refused_changes_nothing() {
    let mut tracks = Tracks::parse(&[header(), track(3, &span("[0.2,10,10,50,60],[1,10,10,50,60]"))].join("\n")).expect("a track file");
    let before = tracks.clone();
    let key = |s, x0: f32| Key {
        at: Pts::from_seconds(s),
        box_px: BoxPx {
            x0,
            y0: 10.0,
            x1: x0 + 20.0,
            y1: 40.0,
        },
    };
    assert!(tracks.add(Vec::new(), Decision::Anonymise).is_err());
    assert!(tracks.add(vec![key(0.5, 10.0), key(0.4, 10.0)], Decision::Anonymise).is_err());
    assert!(tracks.add(vec![key(0.5, 900.0)], Decision::Anonymise).is_err());
    assert!(tracks.add(vec![key(0.5, f32::NAN)], Decision::Anonymise).is_err());
    assert!(tracks.split(3, Pts::from_seconds(0.1)).is_err() && tracks.split(3, Pts::from_seconds(1.5)).is_err());
    assert!(tracks.merge(3, 3).is_err());
    for id in [0, 9] {
        let unknown = TracksError::UnknownTrack { id, known: 1 };
        assert_eq!(tracks.merge(3, id), Err(unknown.clone()));
        assert_eq!(tracks.decide(id, Decision::Keep, ""), Err(unknown.clone()));
        assert_eq!(tracks.drop_track(id), Err(unknown));
    }
    assert_eq!(tracks, before);
}

#[test]
fn a_merge_shows_no_more_than_either_did() {
    for (a, b, both) in [
        ("keep", "anonymise", "anonymise"),
        ("keep", "keep", "keep"),
        ("keep", "cover", "cover"),
    ] {
        let with = |id, word: &str, keys| track(id, &span(keys)).replace("\"score\"", &format!("\"decision\":\"{word}\",\"score\""));
        let lines = [
            header(),
            with(0, a, "[0.2,10,10,50,60],[1,10,10,50,60]"),
            with(1, b, "[0.5,30,10,70,60],[1.5,30,10,70,60]"),
        ];
        let mut tracks = Tracks::parse(&lines.join("\n")).expect("a track file");
        tracks.merge(0, 1).expect("known");
        assert_eq!(tracks.track(0).expect("there").decision.word(), both);
        let there = tracks.at(Pts::from_seconds(0.7));
        assert_eq!((there.len(), there[0].box_px.x0, there[0].box_px.x1), (1, 10.0, 70.0));
        Tracks::parse(&tracks.to_text()).expect("a file that is read again");
    }
}
