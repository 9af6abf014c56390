//! R'G'B' ↔ Y'CbCr, both ways, for every matrix, range and depth of a frame.
//!
//! | | |
//! |---|---|
//! | formula | `Y' = Kr·R + Kg·G + Kb·B`, `Cb = (B − Y') / 2(1 − Kb)`, `Cr = (R − Y') / 2(1 − Kr)` (ITU-R BT.601-7, BT.709-6, BT.2020-2 NCL) |
//! | R, G, B | 0..=255 as `f32`, also for ten-bit frames |
//! | codes | limited: `16 + 219·Y'`, `128 + 224·C` at 8 bit, four times that at 10; full: `max·Y'`, `mid + max·C` |
//! | RGB formats | the identity: the components are R, G, B themselves |
//! | rounding | to nearest, clamped to 0..=max |
//! | errors | none: every input has a value; NaN becomes code 0 |
//!
//! Transfer curves are left alone: every operator works on gamma-encoded values, as codecs do.

use crate::image::{ImageInfo, Matrix, Range};
use crate::packing::Packing;

/// Colour conversion of one kind of frame, computed once per call of an operator.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Coder {
    /// `rgb = decode · [c0, c1, c2, 1]`.
    decode: [[f32; 4]; 3],
    /// `codes = encode · [r, g, b, 1]`.
    encode: [[f32; 4]; 3],
    /// Largest code.
    max: f32,
}

impl Coder {
    /// The conversion that a frame's format, matrix and range ask for.
    #[must_use]
    pub fn new(info: &ImageInfo) -> Self {
        let max = f32::from(Packing::of(info.format).depth.max_code());
        if info.format.is_yuv() {
            Self::yuv(info.matrix, info.range, max)
        } else {
            let identity = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]];
            Self {
                decode: identity,
                encode: identity,
                max,
            }
        }
    }

    fn yuv(matrix: Matrix, range: Range, max: f32) -> Self {
        let (kr, kb): (f64, f64) = match matrix {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
            Matrix::Bt2020 => (0.2627, 0.0593),
        };
        let kg = 1.0 - kr - kb;
        let max_code = f64::from(max);
        let unit = (max_code + 1.0) / 256.0;
        let mid = 128.0 * unit;
        // Codes per unit of an 8-bit R'G'B' value.
        let (black, luma, chroma) = match range {
            Range::Limited => (16.0 * unit, 219.0 / 255.0 * unit, 224.0 / 255.0 * unit),
            Range::Full => (0.0, max_code / 255.0, max_code / 255.0),
        };
        let (cb, cr) = (2.0 * (1.0 - kb), 2.0 * (1.0 - kr));
        let encode = [
            [luma * kr, luma * kg, luma * kb, black],
            [-chroma * kr / cb, -chroma * kg / cb, chroma * (1.0 - kb) / cb, mid],
            [chroma * (1.0 - kr) / cr, -chroma * kg / cr, -chroma * kb / cr, mid],
        ];
        // rgb = y + (u, v) parts, with y, u, v brought back to the 0..=255 scale first.
        let row = |u: f64, v: f64| {
            let (y, u, v) = (1.0 / luma, u / chroma, v / chroma);
            [y, u, v, -(y * black + (u + v) * mid)]
        };
        let decode = [row(0.0, cr), row(-kb * cb / kg, -kr * cr / kg), row(cb, 0.0)];
        let narrow = |m: [[f64; 4]; 3]| m.map(|r| r.map(|v| v as f32));
        Self {
            decode: narrow(decode),
            encode: narrow(encode),
            max,
        }
    }

    /// Largest code of the frame's depth.
    #[must_use]
    pub fn max_code(&self) -> u16 {
        self.max as u16
    }

    /// Codes (any real value) to R, G, B, not clamped.
    #[must_use]
    pub fn decode(&self, codes: [f32; 3]) -> [f32; 3] {
        self.decode.map(|m| m[0] * codes[0] + m[1] * codes[1] + m[2] * codes[2] + m[3])
    }

    /// R, G, B to codes, neither rounded nor clamped.
    #[must_use]
    pub fn encode(&self, rgb: [f32; 3]) -> [f32; 3] {
        self.encode.map(|m| m[0] * rgb[0] + m[1] * rgb[1] + m[2] * rgb[2] + m[3])
    }

    /// A difference of R, G, B to a difference of codes: [`Self::encode`] without its offset.
    #[must_use]
    pub fn encode_delta(&self, rgb: [f32; 3]) -> [f32; 3] {
        self.encode.map(|m| m[0] * rgb[0] + m[1] * rgb[1] + m[2] * rgb[2])
    }

    /// R, G, B to the nearest codes that the frame can hold.
    #[must_use]
    pub fn encode_codes(&self, rgb: [u8; 3]) -> [u16; 3] {
        self.encode(rgb.map(f32::from)).map(|v| (v + 0.5).clamp(0.0, self.max) as u16)
    }

    /// The rows of the encoding matrix, for the CUDA kernels.
    pub(crate) fn encode_rows(&self) -> &[[f32; 4]; 3] {
        &self.encode
    }

    /// The rows of the decoding matrix, for loops over whole rows.
    pub(crate) fn decode_rows(&self) -> &[[f32; 4]; 3] {
        &self.decode
    }
}

#[cfg(test)]
mod tests {
    use super::Coder;
    use crate::image::{ImageInfo, Matrix, PixelFormat, Range};

    fn coder(format: PixelFormat, matrix: Matrix, range: Range) -> Coder {
        Coder::new(&ImageInfo {
            format,
            width: 2,
            height: 2,
            matrix,
            range,
        })
    }

    const MATRICES: [Matrix; 3] = [Matrix::Bt601, Matrix::Bt709, Matrix::Bt2020];
    const RANGES: [Range; 2] = [Range::Limited, Range::Full];

    #[test]
    fn white_and_black_have_their_standard_codes() {
        for matrix in MATRICES {
            let limited = coder(PixelFormat::Nv12, matrix, Range::Limited);
            assert_eq!(limited.encode_codes([255; 3]), [235, 128, 128]);
            assert_eq!(limited.encode_codes([0; 3]), [16, 128, 128]);
            let full = coder(PixelFormat::I420, matrix, Range::Full);
            assert_eq!(full.encode_codes([255; 3]), [255, 128, 128]);
            assert_eq!(full.encode_codes([0; 3]), [0, 128, 128]);
            let ten = coder(PixelFormat::P010Le, matrix, Range::Limited);
            assert_eq!(ten.encode_codes([255; 3]), [940, 512, 512]);
            assert_eq!(ten.encode_codes([0; 3]), [64, 512, 512]);
            let ten_full = coder(PixelFormat::I42010Le, matrix, Range::Full);
            assert_eq!(ten_full.encode_codes([255; 3]), [1023, 512, 512]);
        }
    }

    #[test]
    fn primaries_match_the_published_bars() {
        // 100 % bars, limited range, 8 bit.
        let bt601 = coder(PixelFormat::Nv12, Matrix::Bt601, Range::Limited);
        assert_eq!(bt601.encode_codes([255, 0, 0]), [81, 90, 240]);
        assert_eq!(bt601.encode_codes([0, 255, 0]), [145, 54, 34]);
        assert_eq!(bt601.encode_codes([0, 0, 255]), [41, 240, 110]);
        let bt709 = coder(PixelFormat::Nv12, Matrix::Bt709, Range::Limited);
        assert_eq!(bt709.encode_codes([255, 0, 0]), [63, 102, 240]);
        assert_eq!(bt709.encode_codes([0, 255, 0]), [173, 42, 26]);
        assert_eq!(bt709.encode_codes([0, 0, 255]), [32, 240, 118]);
    }

    #[test]
    fn codes_survive_a_round_trip_within_one() {
        let mut seen = 0;
        for (format, step) in [(PixelFormat::Nv12, 15), (PixelFormat::P010Le, 60), (PixelFormat::Rgb, 15)] {
            for matrix in MATRICES {
                for range in RANGES {
                    let coder = coder(format, matrix, range);
                    for y in (0..=coder.max_code()).step_by(step) {
                        for u in (0..=coder.max_code()).step_by(step) {
                            for v in (0..=coder.max_code()).step_by(step) {
                                let codes = [y, u, v].map(f32::from);
                                let back = coder.encode(coder.decode(codes));
                                for (got, want) in back.iter().zip(codes) {
                                    assert!((got - want).abs() < 0.05, "{codes:?} {back:?}");
                                }
                                seen += 1;
                            }
                        }
                    }
                }
            }
        }
        assert!(seen > 10_000);
    }

    #[test]
    fn rgb_survives_rounding_to_ten_bit_codes_within_one() {
        for matrix in MATRICES {
            for range in RANGES {
                let coder = coder(PixelFormat::P010Le, matrix, range);
                for i in 0..=2048u32 {
                    let rgb = [(i * 7) % 256, (i * 31) % 256, (i * 101) % 256].map(|v| v as u8);
                    let back = coder.decode(coder.encode_codes(rgb).map(f32::from));
                    for (got, want) in back.iter().zip(rgb) {
                        assert!((got - f32::from(want)).abs() <= 1.0, "{matrix:?} {range:?} {rgb:?} {back:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn eight_bit_rgb_round_trip_stays_within_the_quantisation_of_chroma() {
        // Half a code of Cb is up to 0.5 · 2(1 − Kb) · 255/224 ≈ 1.07 of blue, and luma adds 0.58.
        const TOLERANCE: f32 = 2.0;
        for matrix in MATRICES {
            let coder = coder(PixelFormat::Nv12, matrix, Range::Limited);
            for i in 0..=2048u32 {
                let rgb = [(i * 7) % 256, (i * 31) % 256, (i * 101) % 256].map(|v| v as u8);
                let back = coder.decode(coder.encode_codes(rgb).map(f32::from));
                for (got, want) in back.iter().zip(rgb) {
                    assert!((got - f32::from(want)).abs() <= TOLERANCE, "{matrix:?} {rgb:?} {back:?}");
                }
            }
        }
    }

    #[test]
    fn a_zero_difference_is_a_zero_difference_of_codes() {
        let coder = coder(PixelFormat::Nv12, Matrix::Bt709, Range::Limited);
        assert_eq!(coder.encode_delta([0.0; 3]), [0.0; 3]);
    }
}
