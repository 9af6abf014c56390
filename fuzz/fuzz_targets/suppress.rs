//! Any boxes and scores: what is kept is a part of what came, and overlaps less than asked.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nullface::frame::BoxPx;
use nullface::stages::detect::{Detection, suppress};

fuzz_target!(|boxes: Vec<([f32; 4], f32)>| {
    let came: Vec<Detection> = boxes
        .iter()
        .take(256)
        .map(|([x0, y0, x1, y1], score)| Detection { box_px: BoxPx { x0: *x0, y0: *y0, x1: *x1, y1: *y1 }, score: *score, landmarks: None })
        .collect();
    let kept = suppress(came.clone(), 0.3);
    assert!(kept.len() <= came.len());
    for (i, a) in kept.iter().enumerate() {
        for b in &kept[i + 1..] {
            assert!(!(a.box_px.iou(&b.box_px) > 0.3));
        }
    }
});
