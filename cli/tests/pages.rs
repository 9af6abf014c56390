//! Man pages and completions say what the command has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::process::Command;

use support::{Bench, nullface, text};

#[test]
fn there_is_a_page_for_each_subcommand_with_its_options() {
    let bench = Bench::new();
    let run = nullface(&["man", "--output", text(&bench.path("."))]);
    assert_eq!(run.code, 0, "{}", run.said);
    for (page, words) in [
        ("nullface.1", ["anonymize", "batch"]),
        ("nullface-anonymize.1", ["except", "size\\-limit"]),
        ("nullface-batch.1", ["jobs", "output"]),
    ] {
        let page = std::fs::read_to_string(bench.path(page)).expect(page);
        for word in words {
            assert!(page.contains(word), "{word} is not in {page}");
        }
    }
    let run = nullface(&["man", "--output", "/nonexistent/folder"]);
    assert!(run.code == 1 && run.said.contains("there is no such folder"), "{}", run.said);
}

#[test]
fn completions_know_the_options_of_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let out = Command::new(env!("CARGO_BIN_EXE_nullface"))
            .args(["completions", shell])
            .output()
            .expect("nullface starts");
        let script = String::from_utf8(out.stdout).expect("text");
        assert!(
            out.status.success() && script.contains("size-limit") && script.contains("batch"),
            "{shell}"
        );
    }
}
