//! The picture that tests of frames on a device look at: two faces, all of it.

use nullface::frame::BoxPx;

/// Its size, px.
pub(crate) const SIZE: (u32, u32) = (240, 180);
/// Its faces.
pub(crate) const FACES: [BoxPx; 2] = [
    BoxPx {
        x0: 60.0,
        y0: 40.0,
        x1: 124.0,
        y1: 112.0,
    },
    BoxPx {
        x0: 150.0,
        y0: 90.0,
        x1: 200.0,
        y1: 150.0,
    },
];
/// All of it.
pub(crate) const WHOLE: BoxPx = BoxPx {
    x0: 0.0,
    y0: 0.0,
    x1: 240.0,
    y1: 180.0,
};
