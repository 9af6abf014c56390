#![allow(clippy::print_stdout)] // an example talks
//! The library without GStreamer: opens the engine and treats one grey frame.
//!
//! `cargo run --example 01_one_frame`

use nullface::frame::{FrameInfo, FrameTime, FrameViewMut, Matrix, PixelFormat, PlaneMut, Pts, Range};
use nullface::{Engine, EngineConfig, Settings};

fn main() -> anyhow::Result<()> {
    let (width, height) = (640u32, 360u32);
    let info = FrameInfo {
        format: PixelFormat::Rgb,
        width,
        height,
        matrix: Matrix::Bt709,
        range: Range::Full,
    };
    let mut pixels = vec![128u8; width as usize * height as usize * 3];
    let mut engine = Engine::open(&EngineConfig::default(), Settings::default())?;
    let mut frame = FrameViewMut::new(
        info,
        vec![PlaneMut {
            data: &mut pixels,
            stride: width as usize * 3,
        }],
    )?;
    let released = engine.process(
        &mut frame,
        FrameTime {
            pts: Pts(0),
            duration_ns: 40_000_000,
        },
        &[],
    );
    println!("device: {}", engine.device().reason);
    println!(
        "faces: {}, withheld: {:?}",
        released.report().faces.len(),
        released.report().withheld
    );
    Ok(())
}
