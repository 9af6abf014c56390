//! From a photo of one person to an embedding: PNG or JPEG, one face, upright or turned by quarter
//! turns, as cameras store them.

use std::path::{Path, PathBuf};

use crate::frame::{FrameInfo, FrameView, Matrix, PixelFormat, Plane, Range};
use crate::stages::align::{FaceHint, MeshFitter};
use crate::stages::detect::{Detection, Detector, Effort};
use crate::stages::identify::{Embedding, Recogniser};

/// Photos of one run.
const MOST: usize = 1000;
/// Largest photo, bytes.
const MAX_BYTES: u64 = 64 << 20;
/// Largest side, px.
const MAX_SIDE_PX: usize = 16_384;
/// Score from which something in a photo counts as a face.
const SURE: f32 = 0.5;
/// Mesh probability below which the points are not believed.
const FACE_PROB: f32 = 0.5;

/// Why a photo cannot serve.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {what}; {remedy}", path.display())]
pub struct PhotoError {
    path: PathBuf,
    what: String,
    remedy: &'static str,
}

/// Remedy for files that are no photo.
const READABLE: &str = "give a PNG or JPEG file, or a folder of them";
/// Remedy for photos with the wrong number of faces.
const ONE_FACE: &str = "give a photo of this one person, upright and from the front, or crop it to the face meant";

fn wrong(path: &Path, what: impl Into<String>, remedy: &'static str) -> PhotoError {
    PhotoError {
        path: path.to_owned(),
        what: what.into(),
        remedy,
    }
}

/// The files that a list of files and folders names, in order.
pub(super) fn files(list: &[PathBuf]) -> Result<Vec<PathBuf>, PhotoError> {
    let mut files = Vec::new();
    for path in list {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let entries = std::fs::read_dir(path).map_err(|e| wrong(path, format!("cannot be read: {e}"), READABLE))?;
        let mut inside: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).filter(|p| is_picture(p)).collect();
        if inside.is_empty() {
            return Err(wrong(path, "there is no photo in this folder", READABLE));
        }
        inside.sort();
        files.append(&mut inside);
    }
    match files.get(MOST) {
        Some(path) => Err(wrong(path, format!("more than {MOST} photos"), "give fewer of each person")),
        None => Ok(files),
    }
}

fn is_picture(path: &Path) -> bool {
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    ending.is_some_and(|e| ["png", "jpg", "jpeg"].contains(&e.as_str()))
}

/// R, G, B of each pixel.
struct Picture {
    rgb: Vec<u8>,
    width: usize,
    height: usize,
}

impl Picture {
    fn view(&self) -> Option<FrameView<'_>> {
        let info = FrameInfo {
            format: PixelFormat::Rgb,
            width: u32::try_from(self.width).ok()?,
            height: u32::try_from(self.height).ok()?,
            matrix: Matrix::Bt601,
            range: Range::Full,
        };
        let plane = Plane {
            data: &self.rgb,
            stride: 3 * self.width,
        };
        FrameView::new(info, &[plane]).ok()
    }

    /// A quarter turn clockwise.
    fn turned(&self) -> Self {
        let (width, height) = (self.height, self.width);
        let mut rgb = Vec::with_capacity(self.rgb.len());
        for y in 0..height {
            for x in 0..width {
                let at = 3 * ((self.height - 1 - x) * self.width + y);
                rgb.extend_from_slice(self.rgb.get(at..at + 3).unwrap_or(&[0; 3]));
            }
        }
        Self { rgb, width, height }
    }
}

fn load(path: &Path) -> Result<Picture, PhotoError> {
    let unreadable = |why: String| wrong(path, format!("cannot be read: {why}"), READABLE);
    let bytes = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
    if bytes > MAX_BYTES {
        return Err(wrong(path, "it is larger than 64 MiB", READABLE));
    }
    let bytes = std::fs::read(path).map_err(|e| unreadable(e.to_string()))?;
    let picture = if bytes.starts_with(b"\x89PNG") {
        png(&bytes)
    } else if bytes.starts_with(&[0xff, 0xd8]) {
        jpeg(&bytes)
    } else {
        Err("it is neither PNG nor JPEG".to_owned())
    };
    picture.map_err(unreadable)
}

fn checked(width: usize, height: usize) -> Result<(), String> {
    if (1..=MAX_SIDE_PX).contains(&width) && (1..=MAX_SIDE_PX).contains(&height) {
        Ok(())
    } else {
        Err(format!("{width}×{height} px, expected sides of 1 to {MAX_SIDE_PX}"))
    }
}

fn png(bytes: &[u8]) -> Result<Picture, String> {
    let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(|e| e.to_string())?;
    let (width, height) = (reader.info().width as usize, reader.info().height as usize);
    checked(width, height)?;
    let mut data = vec![0; reader.output_buffer_size().ok_or("it is too large")?];
    let info = reader.next_frame(&mut data).map_err(|e| e.to_string())?;
    data.truncate(info.buffer_size());
    let rgb = match info.color_type {
        png::ColorType::Rgb => data,
        png::ColorType::Rgba => data.chunks_exact(4).flat_map(|p| [p[0], p[1], p[2]]).collect(),
        png::ColorType::Grayscale => data.iter().flat_map(|v| [*v; 3]).collect(),
        png::ColorType::GrayscaleAlpha => data.chunks_exact(2).flat_map(|p| [p[0]; 3]).collect(),
        png::ColorType::Indexed => return Err("its palette cannot be read".to_owned()),
    };
    Ok(Picture { rgb, width, height })
}

fn jpeg(bytes: &[u8]) -> Result<Picture, String> {
    use zune_jpeg::zune_core::colorspace::ColorSpace;
    use zune_jpeg::zune_core::options::DecoderOptions;
    let options = DecoderOptions::default()
        .jpeg_set_out_colorspace(ColorSpace::RGB)
        .set_max_width(MAX_SIDE_PX)
        .set_max_height(MAX_SIDE_PX);
    let mut decoder = zune_jpeg::JpegDecoder::new_with_options(bytes, options);
    let rgb = decoder.decode().map_err(|e| e.to_string())?;
    let (width, height) = decoder.dimensions().ok_or("it has no size")?;
    checked(width, height)?;
    if rgb.len() != 3 * width * height {
        return Err(format!("{} bytes of pixels, expected {}", rgb.len(), 3 * width * height));
    }
    Ok(Picture { rgb, width, height })
}

/// The embedding of a photo's one face.
pub(super) fn embed(
    path: &Path,
    detector: &mut dyn Detector,
    mesh: &mut dyn MeshFitter,
    recogniser: &mut dyn Recogniser,
) -> Result<Embedding, PhotoError> {
    let mut picture = load(path)?;
    for _ in 0..4 {
        let view = picture
            .view()
            .ok_or_else(|| wrong(path, "its pixels do not fit its size", READABLE))?;
        let faces: Vec<Detection> = detector
            .detect(&view, SURE, Effort::Thorough)
            .map_err(|e| wrong(path, e.to_string(), READABLE))?;
        match faces.as_slice() {
            [] => {}
            [face] => return one(path, &view, face, mesh, recogniser),
            several => return Err(wrong(path, format!("{} faces were found in it", several.len()), ONE_FACE)),
        }
        picture = picture.turned();
    }
    Err(wrong(path, "no face was found in it", ONE_FACE))
}

fn one(
    path: &Path,
    view: &FrameView<'_>,
    face: &Detection,
    mesh: &mut dyn MeshFitter,
    recogniser: &mut dyn Recogniser,
) -> Result<Embedding, PhotoError> {
    let hint = FaceHint {
        box_px: face.box_px,
        roll_rad: 0.0,
        landmarks: face.landmarks,
    };
    let fitted = mesh.fit(view, &[hint]).map_err(|e| wrong(path, e.to_string(), READABLE))?;
    let landmarks = fitted
        .first()
        .filter(|m| m.face_prob >= FACE_PROB)
        .and_then(crate::frame::Mesh::landmarks5)
        .ok_or_else(|| wrong(path, "its face is turned away, hidden or blurred", ONE_FACE))?;
    let embeddings = recogniser
        .embed(view, &[landmarks])
        .map_err(|e| wrong(path, e.to_string(), READABLE))?;
    embeddings
        .into_iter()
        .next()
        .ok_or_else(|| wrong(path, "its face could not be compared", ONE_FACE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_turn_moves_the_first_row_to_the_last_column() {
        let picture = Picture {
            rgb: (0..18).collect(),
            width: 3,
            height: 2,
        };
        let turned = picture.turned();
        assert_eq!((turned.width, turned.height), (2, 3));
        // Upper right is what was upper left.
        assert_eq!(turned.rgb[3..6], [0, 1, 2]);
        let back = turned.turned().turned().turned();
        assert_eq!(back.rgb, picture.rgb);
    }

    #[test]
    fn what_is_no_photo_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("a.jpg");
        for (bytes, why) in [
            (b"words".as_slice(), "neither PNG nor JPEG"),
            (b"\x89PNG\r\n\x1a\nbroken", "cannot be read"),
            (&[0xff, 0xd8, 0xff, 0xe0, 0, 1], "cannot be read"),
        ] {
            std::fs::write(&path, bytes).expect("written");
            let error = load(&path).err().expect("no photo").to_string();
            assert!(
                error.contains(why) && error.contains("a.jpg") && error.contains("; give a PNG"),
                "{error}"
            );
        }
        let empty = folder.path().join("none");
        std::fs::create_dir(&empty).expect("made");
        assert!(files(&[empty]).expect_err("empty").to_string().contains("no photo in this folder"));
    }
}
