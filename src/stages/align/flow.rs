//! Dense optical flow between two pictures of luma: DIS (Kroeger, Timofte, Dai, Van Gool, ECCV 2016), as
//! OpenCV has it.

use opencv::core::{Mat, Ptr, Vec2f};
use opencv::prelude::*;
use opencv::video::{DISOpticalFlow, DISOpticalFlow_PRESET_FAST};

use crate::backend::BackendError;

/// Computes flows of square pictures; keeps what it needs for the next one.
#[derive(Default)]
pub struct Flow {
    dis: Option<Ptr<DISOpticalFlow>>,
    vectors: Vec<[f32; 2]>,
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").field("opened", &self.dis.is_some()).finish_non_exhaustive()
    }
}

impl Flow {
    /// Where each pixel of `from` went in `to`: displacements (x, y) in px, row-major, `side²` of them.
    /// Both pictures are luma 0–255, `side²` bytes, row-major; of two equal pictures all are 0.
    ///
    /// # Errors
    /// [`BackendError::Run`]: a picture of another size, or OpenCV refuses.
    pub fn between(&mut self, from: &[u8], to: &[u8], side: usize) -> Result<&[[f32; 2]], BackendError> {
        let failed = |e: opencv::Error| BackendError::Run {
            model: "optical flow".to_owned(),
            why: e.message,
        };
        let size = i32::try_from(side).unwrap_or(i32::MAX);
        let from = Mat::new_rows_cols_with_data(size, size, from).map_err(failed)?;
        let to = Mat::new_rows_cols_with_data(size, size, to).map_err(failed)?;
        let dis = match &mut self.dis {
            Some(dis) => dis,
            none => none.insert(DISOpticalFlow::create(DISOpticalFlow_PRESET_FAST).map_err(failed)?),
        };
        // A new one each time: what stands in it would be taken for a first guess.
        let mut flow = Mat::default();
        dis.calc(&from, &to, &mut flow).map_err(failed)?;
        let flow = flow.data_typed::<Vec2f>().map_err(failed)?;
        self.vectors.clear();
        self.vectors.extend(flow.iter().map(|v| v.0));
        Ok(&self.vectors)
    }
}
