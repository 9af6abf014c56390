//! The plain definition: sample by sample.

use super::cells::{Grid, Means, SIDE, smooth};
use crate::KernelError;
use crate::blend::{check_mask, mix, weight};
use crate::color::Coder;
use crate::image::{Image, ImageMut};
use crate::mask::RegionMask;
use crate::packing::Packing;

/// See [`super::solid`].
///
/// # Errors
/// As there.
pub fn solid(image: &mut ImageMut<'_>, mask: &RegionMask, rgb: [u8; 3]) -> Result<(), KernelError> {
    check_mask("cover::solid", mask, image.width(), image.height())?;
    let codes = Coder::new(image.info()).encode_codes(rgb);
    replace(image, mask, |component, _, _| codes[component]);
    Ok(())
}

/// See [`super::pixelate`].
///
/// # Errors
/// As there.
pub fn pixelate(image: &mut ImageMut<'_>, mask: &RegionMask, cells: u32) -> Result<(), KernelError> {
    check_mask("cover::pixelate", mask, image.width(), image.height())?;
    let grids = Grid::of(image.info(), mask.rect(), cells);
    let means = means(&image.as_image(), &grids);
    replace(image, mask, |component, sx, sy| {
        let grid = &grids[component];
        means[component][grid.y.cell_of(sy - grid.y.start)][grid.x.cell_of(sx - grid.x.start)] as u16
    });
    Ok(())
}

/// See [`super::blur`].
///
/// # Errors
/// As there.
pub fn blur(image: &mut ImageMut<'_>, mask: &RegionMask, cells: u32) -> Result<(), KernelError> {
    check_mask("cover::blur", mask, image.width(), image.height())?;
    let grids = Grid::of(image.info(), mask.rect(), cells);
    let means = means(&image.as_image(), &grids);
    replace(image, mask, |component, sx, sy| {
        let grid = &grids[component];
        smooth(&means[component], grid, sx - grid.x.start, sy - grid.y.start) as u16
    });
    Ok(())
}

fn means(image: &Image<'_>, grids: &[Grid; 3]) -> [Means; 3] {
    let packing = Packing::of(image.info().format);
    let mut all = [[[0; SIDE]; SIDE]; 3];
    for (component, (means, grid)) in all.iter_mut().zip(grids).enumerate() {
        for (j, row) in means.iter_mut().enumerate().take(grid.y.cells) {
            for (i, mean) in row.iter_mut().enumerate().take(grid.x.cells) {
                let (mut sum, mut count) = (0u64, 0u64);
                for y in grid.y.edge(j)..grid.y.edge(j + 1) {
                    for x in grid.x.edge(i)..grid.x.edge(i + 1) {
                        sum += u64::from(packing.load(image, component, grid.x.start + x, grid.y.start + y));
                        count += 1;
                    }
                }
                *mean = (sum + count / 2).checked_div(count).unwrap_or(0) as u32;
            }
        }
    }
    all
}

fn replace(image: &mut ImageMut<'_>, mask: &RegionMask, value: impl Fn(usize, usize, usize) -> u16) {
    let info = *image.info();
    let packing = Packing::of(info.format);
    let frame = (info.width as usize, info.height as usize);
    for (index, c) in packing.components.iter().enumerate() {
        let (left, top) = (mask.x.max(0) as usize, mask.y.max(0) as usize);
        for sy in top >> c.shift_y..(top + mask.height as usize).div_ceil(1 << c.shift_y) {
            for sx in left >> c.shift_x..(left + mask.width as usize).div_ceil(1 << c.shift_x) {
                let a = weight(mask, c, frame, sx, sy);
                if a != 0 {
                    let old = packing.load(&image.as_image(), index, sx, sy);
                    packing.store(image, index, sx, sy, mix(old, value(index, sx, sy), a));
                }
            }
        }
    }
}
