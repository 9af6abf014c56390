//! Any points, feather and frame size: masks lie inside the frame and fit their buffer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use nullface_kernels::mask::RegionMask;

fuzz_target!(|input: (Vec<[f32; 2]>, f32, u16, u16)| {
    let (points, feather_px, width, height) = input;
    let (width, height) = (u32::from(width) % 512, u32::from(height) % 512);
    if let Some(mask) = RegionMask::polygon(&points, feather_px, width, height) {
        assert_eq!(mask.alpha.len(), mask.width as usize * mask.height as usize);
        assert!(mask.x >= 0 && mask.y >= 0);
        assert!(mask.x as u32 + mask.width <= width && mask.y as u32 + mask.height <= height);
    }
});
