//! The k-same basis as plain files of a pack: `basis.toml`, `textures.png`, `mask.png`, `basis.f32le`,
//! `triangles.u16le`.
//!
//! | array | shape | unit |
//! |---|---|---|
//! | `canonical_px` | 468×2 | px of a texture, centres at integers |
//! | `mean_shape_iod` | 468×3 | distances between the outer eye corners |
//! | `shape_modes_iod` | K×468×3 | the same |
//! | `shape_mode_sd` | K | – |
//! | `shape_project` | K×1404 | shape difference → coefficients |
//! | `texture_shape` | B×K | coefficients of each texture's people |
//! | `texture_embedding` | B×D | steering recogniser, unit length |
//! | `likeness_probe` | B×(D+1), may be missing | what each texture adds to the cosine between a unit embedding and its painted face; the last column is added |
//! | `likeness_shape` | K, with `likeness_probe` | what a standard deviation of difference in shape adds to it |
//! | `label_probe` | 7×(D+1), may be missing | what a unit embedding looks like: sex, years, five groups; the last column is added |
//!
//! Everything is bounded before it is allocated; a field that does not fit is named.

use std::fs;
use std::path::{Path, PathBuf};

use crate::frame::{MESH_POINTS, Point};

use super::config::CompositeConfig;

/// Most textures of a basis.
const MAX_TEXTURES: usize = 256;
/// Longest side of a texture, px.
const MAX_SIZE_PX: usize = 1024;
/// Most shape modes.
const MAX_MODES: usize = 64;
/// Most triangles.
const MAX_TRIANGLES: usize = 4096;
/// Largest file, bytes.
const MAX_FILE: u64 = 256 << 20;

/// Name of the array that bases of version 1 do not have.
const LABEL_PROBE: &str = "label_probe";
/// The same of bases before version 5 of the pack.
const LIKENESS: [&str; 2] = ["likeness_probe", "likeness_shape"];
/// What it tells: sex, years, and one number for each group.
pub(super) const PROBED: usize = 7;

/// Why a basis cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BasisError {
    /// A file is missing or unreadable.
    #[error("basis {}: {source}", path.display())]
    File {
        /// File.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// A field is not what the layout says.
    #[error("basis {}: {field}: expected {expected}, got {got}", path.display())]
    Field {
        /// File.
        path: PathBuf,
        /// Field.
        field: String,
        /// Expected.
        expected: String,
        /// Got.
        got: String,
    },
}

/// Labels of one texture.
#[derive(Debug, Clone, PartialEq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Label {
    /// 0 male, 1 female.
    pub sex: i32,
    /// Group of the training labels, −1 where mixed.
    pub group: i32,
    /// Mean age, years.
    pub age: f32,
    /// Youngest contributor, years.
    pub age_min: f32,
    /// Oldest contributor, years.
    pub age_max: f32,
    /// People in the mean, at least eight.
    pub contributors: u32,
    /// Values kept for each texel.
    pub per_texel: u32,
    /// Cosine to the nearest contributor.
    pub nearest_contributor_cos: f32,
    /// Cosine that one stranger in a thousand reaches, for faces like these.
    pub far_1e3_cos: f32,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ArrayEntry {
    name: String,
    offset: usize,
    shape: Vec<usize>,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    version: u32,
    textures: usize,
    size_px: usize,
    columns: usize,
    rows: usize,
    points: usize,
    shape_modes: usize,
    identity_dim: usize,
    detail_sigma_px: f32,
    detail_gain_max: f32,
    triangles: usize,
    triangles_openings: usize,
    array: Vec<ArrayEntry>,
    texture: Vec<Label>,
    composite: CompositeConfig,
}

/// One texture: interleaved RGB, 0–255, `size × size`.
#[derive(Debug, Clone, PartialEq)]
pub struct Texture(pub Vec<f32>);

/// The basis of a pack.
#[derive(Debug, Clone)]
pub struct Basis {
    /// Side of a texture, px.
    pub size_px: usize,
    /// Canonical mesh, px of a texture, centres at integer + 0.5.
    pub canonical_px: Vec<Point>,
    /// Triangles, clockwise in the picture; the first [`Self::openings`] span the eyes and the mouth.
    pub triangles: Vec<[u16; 3]>,
    /// Triangles of the openings, which are not painted.
    pub openings: usize,
    /// Three channels a texel, 0–1: paint's opacity, where hair or a hand may win over it, where it is bare.
    pub mask: Vec<f32>,
    /// Textures.
    pub textures: Vec<Texture>,
    /// Their labels.
    pub labels: Vec<Label>,
    /// Mean shape, inter-ocular units, 468×3.
    pub mean_shape: Vec<f32>,
    /// Shape modes, K×468×3.
    pub modes: Vec<f32>,
    /// Standard deviation of each mode.
    pub mode_sd: Vec<f32>,
    /// Shape difference → coefficients, K×1404.
    pub project: Vec<f32>,
    /// Coefficients of each texture's people, B×K.
    pub shapes: Vec<f32>,
    /// Embeddings, B×D.
    pub embeddings: Vec<f32>,
    /// Linear map from an embedding to sex (above 0: female), years and five groups; empty where the basis has none.
    pub label_probe: Vec<f32>,
    /// What each texture adds to the likeness of its painted face to a source, B×(D+1); empty where the basis has none.
    pub likeness_probe: Vec<f32>,
    /// What a standard deviation of difference in each coefficient adds to it, K; empty with the probe.
    pub likeness_shape: Vec<f32>,
    /// Length of an embedding.
    pub identity_dim: usize,
    /// What is finer than this in a mean gets its amplitude back, px.
    pub detail_sigma_px: f32,
    /// Most gain given to it.
    pub detail_gain_max: f32,
    /// Constants of the recipe that the denoiser was trained with.
    pub composite: CompositeConfig,
}

fn field(path: &Path, field: &str, expected: impl std::fmt::Display, got: impl std::fmt::Display) -> BasisError {
    BasisError::Field {
        path: path.to_owned(),
        field: field.to_owned(),
        expected: expected.to_string(),
        got: got.to_string(),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, BasisError> {
    let file = |source| BasisError::File {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(file)?.len();
    if size > MAX_FILE {
        return Err(field(path, "size", format!("at most {MAX_FILE} bytes"), size));
    }
    fs::read(path).map_err(file)
}

/// An 8-bit RGB picture of exactly the size expected.
fn picture(path: &Path, width: usize, height: usize) -> Result<Vec<u8>, BasisError> {
    let bytes = read(path)?;
    let decoder = png::Decoder::new_with_limits(std::io::Cursor::new(bytes), png::Limits { bytes: MAX_FILE as usize });
    let wrong = |e: png::DecodingError| field(path, "picture", "an 8-bit RGB PNG", e);
    let mut reader = decoder.read_info().map_err(wrong)?;
    let info = reader.info();
    let got = format!("{}x{} {:?} {:?}", info.width, info.height, info.color_type, info.bit_depth);
    if (info.width as usize, info.height as usize) != (width, height)
        || info.color_type != png::ColorType::Rgb
        || info.bit_depth != png::BitDepth::Eight
    {
        return Err(field(path, "picture", format!("{width}x{height} Rgb Eight"), got));
    }
    let mut pixels = vec![0; width * height * 3];
    reader.next_frame(&mut pixels).map_err(wrong)?;
    Ok(pixels)
}

impl Basis {
    /// Reads a basis folder.
    ///
    /// # Errors
    /// [`BasisError`] names the file and the field.
    pub fn load(folder: &Path) -> Result<Self, BasisError> {
        let path = folder.join("basis.toml");
        let text = String::from_utf8(read(&path)?).map_err(|e| field(&path, "text", "UTF-8", e))?;
        let h: Header = toml::from_str(&text).map_err(|e| field(&path, "toml", "the documented keys", e.message()))?;
        for (name, value, low, high) in [
            ("version", h.version as usize, 1, 1),
            ("textures", h.textures, 1, MAX_TEXTURES),
            ("size_px", h.size_px, 16, MAX_SIZE_PX),
            ("columns", h.columns, 1, MAX_TEXTURES),
            ("rows", h.rows, 1, MAX_TEXTURES),
            ("points", h.points, MESH_POINTS, MESH_POINTS),
            ("shape_modes", h.shape_modes, 0, MAX_MODES),
            ("identity_dim", h.identity_dim, 1, 4096),
            ("triangles", h.triangles, 1, MAX_TRIANGLES),
            ("triangles_openings", h.triangles_openings, 0, h.triangles),
            ("columns × rows", h.columns * h.rows, h.textures, MAX_TEXTURES),
            ("[[texture]]", h.texture.len(), h.textures, h.textures),
        ] {
            if value < low || value > high {
                return Err(field(&path, name, format!("{low}..={high}"), value));
            }
        }
        if let Some(bad) = h.composite.out_of_range() {
            return Err(field(&path, bad, "a value in its range", "another"));
        }
        if let Some(thin) = h.texture.iter().find(|t| t.contributors < 8) {
            return Err(field(&path, "contributors", "at least 8 people a texture", thin.contributors));
        }
        let arrays = Arrays {
            path: folder.join("basis.f32le"),
            bytes: read(&folder.join("basis.f32le"))?,
            entries: h.array,
        };
        let (k, p, b) = (h.shape_modes, MESH_POINTS, h.textures);
        let canonical = arrays.get("canonical_px", &[p, 2])?;
        let learnt = LIKENESS.iter().any(|name| arrays.has(name));
        let basis = Self {
            size_px: h.size_px,
            canonical_px: canonical.chunks_exact(2).map(|c| [c[0] + 0.5, c[1] + 0.5]).collect(),
            triangles: triangles(&folder.join("triangles.u16le"), h.triangles)?,
            openings: h.triangles_openings,
            mask: mask(&folder.join("mask.png"), h.size_px)?,
            textures: textures(&folder.join("textures.png"), &(h.size_px, h.columns, h.rows, b))?,
            labels: h.texture,
            mean_shape: arrays.get("mean_shape_iod", &[p, 3])?,
            modes: arrays.get("shape_modes_iod", &[k, p, 3])?,
            mode_sd: arrays.get("shape_mode_sd", &[k])?,
            project: arrays.get("shape_project", &[k, p * 3])?,
            shapes: arrays.get("texture_shape", &[b, k])?,
            embeddings: arrays.get("texture_embedding", &[b, h.identity_dim])?,
            label_probe: arrays.optional(LABEL_PROBE, arrays.has(LABEL_PROBE), &[PROBED, h.identity_dim + 1])?,
            likeness_probe: arrays.optional(LIKENESS[0], learnt, &[b, h.identity_dim + 1])?,
            likeness_shape: arrays.optional(LIKENESS[1], learnt, &[k])?,
            identity_dim: h.identity_dim,
            detail_sigma_px: h.detail_sigma_px.clamp(0.5, 64.0),
            detail_gain_max: h.detail_gain_max.clamp(1.0, 8.0),
            composite: h.composite,
        };
        Ok(basis)
    }

    /// Triangles that are painted.
    #[must_use]
    pub fn painted(&self) -> &[[u16; 3]] {
        self.triangles.get(self.openings..).unwrap_or(&[])
    }
}

struct Arrays {
    path: PathBuf,
    bytes: Vec<u8>,
    entries: Vec<ArrayEntry>,
}

impl Arrays {
    fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|e| e.name == name)
    }

    /// Empty where it is not `there`.
    fn optional(&self, name: &str, there: bool, shape: &[usize]) -> Result<Vec<f32>, BasisError> {
        if there { self.get(name, shape) } else { Ok(Vec::new()) }
    }

    fn get(&self, name: &str, shape: &[usize]) -> Result<Vec<f32>, BasisError> {
        let entry = self
            .entries
            .iter()
            .find(|e| e.name == name)
            .ok_or_else(|| field(&self.path, name, "an [[array]] entry", "none"))?;
        if entry.shape != shape {
            return Err(field(&self.path, name, format!("{shape:?}"), format!("{:?}", entry.shape)));
        }
        let count: usize = shape.iter().product();
        let end = entry.offset.saturating_add(count.saturating_mul(4));
        let raw = self
            .bytes
            .get(entry.offset..end)
            .ok_or_else(|| field(&self.path, name, format!("bytes {}..{end}", entry.offset), self.bytes.len()))?;
        let values: Vec<f32> = raw
            .chunks_exact(4)
            .filter_map(|c| c.first_chunk::<4>())
            .map(|c| f32::from_le_bytes(*c))
            .collect();
        if let Some(bad) = values.iter().find(|v| !v.is_finite()) {
            return Err(field(&self.path, name, "finite numbers", bad));
        }
        Ok(values)
    }
}

fn triangles(path: &Path, count: usize) -> Result<Vec<[u16; 3]>, BasisError> {
    let raw = read(path)?;
    if raw.len() != count * 6 {
        return Err(field(path, "size", count * 6, raw.len()));
    }
    let corners: Vec<u16> = raw
        .chunks_exact(2)
        .filter_map(|c| c.first_chunk::<2>())
        .map(|c| u16::from_le_bytes(*c))
        .collect();
    if let Some(&bad) = corners.iter().find(|&&c| usize::from(c) >= MESH_POINTS) {
        return Err(field(path, "corner", format!("below {MESH_POINTS}"), bad));
    }
    Ok(corners.chunks_exact(3).filter_map(|c| c.first_chunk::<3>()).copied().collect())
}

fn mask(path: &Path, size: usize) -> Result<Vec<f32>, BasisError> {
    Ok(picture(path, size, size)?.iter().map(|v| f32::from(*v) / 255.0).collect())
}

fn textures(path: &Path, &(size, columns, rows, count): &(usize, usize, usize, usize)) -> Result<Vec<Texture>, BasisError> {
    let width = columns * size;
    let atlas = &picture(path, width, rows * size)?;
    let tile = |i: usize| {
        let (row, column) = (i / columns, i % columns);
        (0..size).flat_map(move |y| {
            let start = ((row * size + y) * width + column * size) * 3;
            atlas.get(start..start + size * 3).unwrap_or(&[]).iter().map(|&v| f32::from(v))
        })
    };
    Ok((0..count).map(|i| Texture(tile(i).collect())).collect())
}
