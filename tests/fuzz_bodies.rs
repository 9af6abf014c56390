//! The fuzz targets' bodies over seeded random bytes: they compile, hold, and reach what they are for.
//! Fuzzing itself wants a nightly compiler: `fuzz/README.md`.

#[path = "../fuzz/src/bodies.rs"]
mod bodies;

use rand::rngs::StdRng;
use rand::{Rng, RngCore, SeedableRng};

const ROUNDS: usize = 600;

#[test]
fn every_body_holds_on_random_bytes_and_gets_past_its_first_check() {
    for (name, body) in bodies::ALL {
        let mut random = StdRng::seed_from_u64(7);
        let mut deep = 0;
        for _ in 0..ROUNDS {
            let mut bytes = vec![0; random.random_range(0..2000)];
            random.fill_bytes(&mut bytes);
            deep += usize::from(body(&bytes).unwrap_or(false));
        }
        // No random bytes are a manifest; every other body must get somewhere, or it checks nothing.
        assert!(name == "pack_manifest" || deep > ROUNDS / 50, "{name}: {deep} of {ROUNDS}");
    }
}

#[test]
fn a_manifest_with_any_byte_changed_is_read_or_refused() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/nullface-128/pack.toml");
    let text = std::fs::read(path).expect("the pack that comes along");
    assert!(bodies::pack_manifest(&text).expect("a body"), "{path}");
    let mut random = StdRng::seed_from_u64(11);
    let mut refused = 0;
    for _ in 0..400 {
        let mut changed = text.clone();
        for _ in 0..random.random_range(1..4) {
            let at = random.random_range(0..changed.len());
            changed[at] = random.random();
        }
        refused += usize::from(!bodies::pack_manifest(&changed).expect("a body"));
    }
    assert!(refused > 50, "{refused} of 400 refused");
}
