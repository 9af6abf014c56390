//! A cached edit moved along with the mesh, two edits cross-faded: the plain definition.
//!
//! | | |
//! |---|---|
//! | formula | `out = b + (a − b)·share`, `a`, `b` the edits at `map[triangle]·(x + ½, y + ½)`, bilinear, border replicated |
//! | outside the mesh | 0, also for a triangle beyond the table |
//! | still | an edit without maps has not moved: copied, bit for bit |
//! | layout | interleaved RGB, f32, `width·height·3` |
//! | errors | lengths that do not fit, a size of 0 or above 32768: [`KernelError::Argument`], nothing written |
//! | CUDA twin | `cuda/warp_edit.cu` |

use crate::KernelError;
use crate::affine::Affine;
use crate::image::MAX_SIDE_PX;
use crate::taps::bilinear;

/// A pixel outside the mesh.
pub const NO_TRIANGLE: u16 = u16::MAX;

/// One edit and where it came from.
#[derive(Debug, Clone, Copy)]
pub struct Edit<'a> {
    /// Differences, RGB.
    pub rgb: &'a [f32],
    /// For each triangle, the edit's crop px from this frame's; none = the mesh has not moved.
    pub maps: Option<&'a [Affine]>,
}

/// Warps one face's edit, faded from `before` where there is one; `share` of `edit`.
///
/// # Errors
/// [`KernelError::Argument`] as the table above says.
pub fn warp_edit(
    (width, height): (usize, usize),
    index: &[u16],
    edit: &Edit<'_>,
    before: Option<&Edit<'_>>,
    share: f32,
    out: &mut [f32],
) -> Result<(), KernelError> {
    check((width, height), index, edit, before, out.len())?;
    for (i, (to, &triangle)) in out.chunks_exact_mut(3).zip(index).enumerate() {
        let now = warped(edit, (width, height), i, triangle);
        let old = before.map(|b| warped(b, (width, height), i, triangle));
        for (c, to) in to.iter_mut().enumerate() {
            *to = old.map_or(now[c], |old| old[c] + (now[c] - old[c]) * share);
        }
    }
    Ok(())
}

fn warped(edit: &Edit<'_>, (width, height): (usize, usize), pixel: usize, triangle: u16) -> [f32; 3] {
    let at = |x: usize, y: usize, c: usize| edit.rgb.get((y * width + x) * 3 + c).copied().unwrap_or(0.0);
    let (x, y) = (pixel % width, pixel / width);
    let Some(maps) = edit.maps else {
        return [0, 1, 2].map(|c| at(x, y, c));
    };
    let Some(map) = maps.get(usize::from(triangle)).filter(|_| triangle != NO_TRIANGLE) else {
        return [0.0; 3];
    };
    let [px, py] = map.apply([x as f32 + 0.5, y as f32 + 0.5]);
    let (x0, x1, fx) = bilinear(px, width);
    let (y0, y1, fy) = bilinear(py, height);
    [0, 1, 2].map(|c| {
        let top = at(x0, y0, c) * (1.0 - fx) + at(x1, y0, c) * fx;
        let low = at(x0, y1, c) * (1.0 - fx) + at(x1, y1, c) * fx;
        top * (1.0 - fy) + low * fy
    })
}

fn check(
    (width, height): (usize, usize),
    index: &[u16],
    edit: &Edit<'_>,
    before: Option<&Edit<'_>>,
    out: usize,
) -> Result<(), KernelError> {
    let op = "warp_edit::warp_edit";
    let max = MAX_SIDE_PX as usize;
    let argument = |what, expected: String, got: String| Err(KernelError::Argument { op, what, expected, got });
    if width == 0 || height == 0 || width > max || height > max {
        return argument("size", format!("1..={max} px a side"), format!("{width}x{height}"));
    }
    let area = width * height;
    let lengths = [
        ("index length", area, index.len()),
        ("edit length", 3 * area, edit.rgb.len()),
        ("earlier edit length", 3 * area, before.map_or(3 * area, |b| b.rgb.len())),
        ("out length", 3 * area, out),
    ];
    match lengths.into_iter().find(|(_, want, got)| want != got) {
        Some((what, want, got)) => argument(what, want.to_string(), got.to_string()),
        None => Ok(()),
    }
}
