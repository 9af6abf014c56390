//! Any text as `pack.toml`: a manifest or an error that names a field.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = nullface::pack::Pack::parse(text) {
        assert!(!error.to_string().is_empty());
    }
});
