//! MobileFaceNet (Chen et al. 2018): ArcFace-aligned 112² crop in, 192 numbers out.
//!
//! | | |
//! |---|---|
//! | crop | five landmarks to the ArcFace template at 112 px |
//! | input | n×112×112×3, RGB `(v − 127.5)/128` |
//! | output | n×192, divided by its L2 norm here |
//! | batch | all faces of a frame, at most 8 a run |
//! | threshold | the manifest's, at one false accept in a thousand; a manifest without it is refused |

use nullface_kernels::crop::{ChannelOrder, CropSpec, Layout};
use nullface_kernels::cuda::Gpu;

use super::{Embedding, IdentifyError, Recogniser};
use crate::backend::{Backend, BackendError, SmallSession, first_not_finite};
use crate::frame::{Affine, FrameView, Landmarks5};

const NAME: &str = "mobilefacenet";
const SIDE_PX: usize = 112;
const DIMENSION: usize = 192;
/// Faces a run.
const BATCH: usize = 8;
/// Norms below mean that the network saw nothing; real ones are about 10.
const MIN_NORM: f32 = 1e-3;

/// The recogniser.
#[derive(Debug)]
pub struct MobileFaceNet {
    session: SmallSession,
    same_person_cos: f32,
}

impl MobileFaceNet {
    /// Loads the vendored network.
    ///
    /// # Errors
    /// [`BackendError`]: model missing or altered, device that does not start.
    pub fn open(backend: &Backend) -> Result<Self, BackendError> {
        let thresholds = backend
            .models()
            .entry(NAME)?
            .thresholds
            .as_ref()
            .ok_or_else(|| BackendError::Model {
                name: NAME.to_owned(),
                path: backend.models().folder().join("manifest.toml").display().to_string(),
                why: "no thresholds".to_owned(),
                remedy: "restore the manifest from the release or the repository".to_owned(),
            })?;
        let same_person_cos = thresholds.far_1e_3.threshold;
        Ok(Self {
            session: backend.small_session(NAME)?,
            same_person_cos,
        })
    }

    fn run(&mut self, n: usize) -> Result<Vec<Embedding>, IdentifyError> {
        self.session.run()?;
        let values = self.session.output(0, &[n, DIMENSION]).map_err(|e| match e {
            BackendError::Shape { .. } => IdentifyError::BadOutput(e.to_string()),
            e => IdentifyError::Backend(e),
        })?;
        values.chunks_exact(DIMENSION).map(normalise).collect()
    }
}

const SPEC: CropSpec = CropSpec {
    width: SIDE_PX,
    height: SIDE_PX,
    layout: Layout::Nhwc,
    order: ChannelOrder::Rgb,
    scale: 1.0 / 128.0,
    bias: -127.5 / 128.0,
};

fn map_of(l: &Landmarks5) -> Result<Affine, IdentifyError> {
    crate::frame::arcface_crop(l, SIDE_PX as u32)
        .ok_or_else(|| IdentifyError::BadOutput(format!("landmarks: expected five distinct finite points, got {:?}", l.0)))
}

impl Recogniser for MobileFaceNet {
    fn name(&self) -> &str {
        NAME
    }

    fn same_person_cos(&self) -> f32 {
        self.same_person_cos
    }

    fn reads_on(&self, gpu: &Gpu) -> bool {
        self.session.reads_on(gpu)
    }

    fn embed(&mut self, frame: &FrameView<'_>, faces: &[Landmarks5]) -> Result<Vec<Embedding>, IdentifyError> {
        let maps = faces.iter().map(map_of).collect::<Result<Vec<_>, _>>()?;
        let mut embeddings = Vec::with_capacity(maps.len());
        for batch in maps.chunks(BATCH) {
            self.session.crops(frame, batch, &SPEC)?;
            embeddings.extend(self.run(batch.len())?);
        }
        Ok(embeddings)
    }

    fn embed_each(&mut self, faces: &[(FrameView<'_>, Landmarks5)]) -> Result<Vec<Embedding>, IdentifyError> {
        let maps = faces.iter().map(|(picture, l)| Ok((picture.clone(), map_of(l)?)));
        let maps = maps.collect::<Result<Vec<_>, IdentifyError>>()?;
        let mut embeddings = Vec::with_capacity(maps.len());
        for batch in maps.chunks(BATCH) {
            self.session.crops_each(batch, &SPEC)?;
            embeddings.extend(self.run(batch.len())?);
        }
        Ok(embeddings)
    }
}

/// One row as a unit vector.
pub(super) fn normalise(values: &[f32]) -> Result<Embedding, IdentifyError> {
    if let Some(at) = first_not_finite(values) {
        return Err(IdentifyError::BadOutput(format!(
            "embedding: expected finite numbers, got {} at {at}",
            values[at]
        )));
    }
    let norm = values.iter().map(|v| v * v).sum::<f32>().sqrt();
    if !(norm.is_finite() && norm >= MIN_NORM) {
        return Err(IdentifyError::BadOutput(format!(
            "embedding: expected a norm of at least {MIN_NORM}, got {norm}"
        )));
    }
    Ok(Embedding(values.iter().map(|v| v / norm).collect()))
}

#[cfg(test)]
mod tests {
    use super::{DIMENSION, IdentifyError, MobileFaceNet, normalise};
    use crate::backend::testing::{Picture, backend};
    use crate::frame::Landmarks5;
    use crate::stages::identify::Recogniser;

    #[test]
    fn rows_become_unit_vectors() {
        let row: Vec<f32> = (0..DIMENSION).map(|i| (i as f32).sin() * 3.0).collect();
        let unit = normalise(&row).expect("good row");
        assert!((unit.cos(&unit).expect("one length") - 1.0).abs() < 1e-5);
        let opposite = normalise(&row.iter().map(|v| -v).collect::<Vec<_>>()).expect("good row");
        assert!((unit.cos(&opposite).expect("one length") + 1.0).abs() < 1e-5);
    }

    #[test]
    fn one_crop_has_one_embedding_alone_and_in_a_batch() {
        let picture = Picture::smooth(400, 300);
        let mut recogniser = MobileFaceNet::open(&backend()).expect("opens");
        let at = |dx: f32, scale: f32| Landmarks5(crate::frame::ARCFACE_TEMPLATE_112.map(|p| [p[0] * scale + dx, p[1] * scale]));
        let faces: Vec<Landmarks5> = (0..10).map(|i| at(i as f32 * 20.0, 0.7 + i as f32 * 0.1)).collect();
        let together = recogniser.embed(&picture.view(), &faces).expect("embeddings");
        assert_eq!(together.len(), faces.len());
        for (face, embedding) in faces.iter().zip(&together) {
            let alone = recogniser.embed(&picture.view(), std::slice::from_ref(face)).expect("embedding");
            let norm = embedding.0.iter().map(|v| v * v).sum::<f32>().sqrt();
            assert!((norm - 1.0).abs() < 1e-5 && embedding.0.len() == DIMENSION);
            assert!(embedding.cos(&alone[0]).expect("one length") > 0.9999);
        }
        assert!(
            together[0].cos(&together[9]).expect("one length") < 0.9999,
            "different crops differ"
        );
        assert!(
            recogniser.embed(&picture.view(), &[Landmarks5([[1.0, 1.0]; 5])]).is_err(),
            "no crop"
        );
        assert!((0.3..0.7).contains(&recogniser.same_person_cos()));
    }

    #[test]
    fn rows_without_direction_are_refused() {
        assert!(matches!(normalise(&[0.0; DIMENSION]), Err(IdentifyError::BadOutput(_))));
        let mut row = [1.0; DIMENSION];
        row[191] = f32::NAN;
        assert!(normalise(&row).is_err());
        assert!(normalise(&[f32::MAX; DIMENSION]).is_err(), "norm overflows");
    }
}
