//! The engine's crop ↔ a pack's latents, whatever the pack's size and codec.
//!
//! | | |
//! |---|---|
//! | picture | interleaved RGB 0–255, [`CROP_PX`] square |
//! | default pack | the same size, space-to-depth: exact; the mask is rearranged like the picture |
//! | big packs | resampled to the pack's size, through its autoencoder; the mask is one plane of latents, the mean over each cell |
//!
//! Limits: a big pack sees the engine's crop enlarged, so detail finer than [`CROP_PX`] px is the pack's own.

use crate::stages::reconstruct::{Codec, LatentCodec, ReconstructError, resample};

use super::canvas::CROP_PX;

/// Values of one plane of the crop.
const PLANE: usize = CROP_PX * CROP_PX;

/// A codec between the crop and latents.
#[derive(Debug)]
pub(super) struct Latents {
    codec: LatentCodec,
    /// Side of a latent plane.
    side: usize,
    /// The crop, planar.
    planar: Vec<f32>,
    /// The pack's size, planar; unused where it is the crop's.
    sized: Vec<f32>,
    scratch: Vec<f32>,
}

impl Latents {
    /// Over a pack's codec; `side` of a latent plane.
    pub(super) fn new(codec: LatentCodec, side: usize) -> Self {
        Self {
            codec,
            side,
            planar: Vec::new(),
            sized: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Space-to-depth of the crop itself.
    pub(super) fn exact(factor: usize) -> Result<Self, ReconstructError> {
        let codec = LatentCodec::new(Codec::SpaceToDepth { factor }, CROP_PX, 3 * PLANE, 1.0, 0.0)?;
        Ok(Self::new(codec, CROP_PX / factor))
    }

    /// Values of one latent.
    pub(super) fn len(&self) -> usize {
        self.codec.latent_len()
    }

    /// Values of one mask.
    pub(super) fn mask_len(&self) -> usize {
        if self.codec.is_exact() { self.len() } else { self.side * self.side }
    }

    /// Whether what the mask leaves out comes back bit for bit.
    pub(super) fn is_exact(&self) -> bool {
        self.codec.is_exact() && self.codec.size_px() == CROP_PX
    }

    /// A picture's latents.
    pub(super) fn encode(&mut self, picture: &[f32], out: &mut [f32]) -> Result<(), String> {
        self.planar.resize(3 * PLANE, 0.0);
        for (i, p) in picture.as_chunks::<3>().0.iter().take(PLANE).enumerate() {
            for (c, v) in p.iter().enumerate() {
                self.planar[c * PLANE + i] = v / 127.5 - 1.0;
            }
        }
        self.encode_planar(out)
    }

    /// A mask's latents, 0 to 1.
    pub(super) fn mask(&mut self, mask: &[f32], out: &mut [f32]) -> Result<(), String> {
        if !self.codec.is_exact() {
            return resample(mask, 1, CROP_PX, self.side, out)
                .map(|()| out.iter_mut().for_each(|m| *m = m.clamp(0.0, 1.0)))
                .map_err(|e| e.to_string());
        }
        self.planar.resize(3 * PLANE, 0.0);
        for plane in self.planar.chunks_exact_mut(PLANE) {
            plane.copy_from_slice(mask);
        }
        self.encode_planar(out)
    }

    fn encode_planar(&mut self, out: &mut [f32]) -> Result<(), String> {
        let size = self.codec.size_px();
        let source = if size == CROP_PX {
            &self.planar
        } else {
            self.sized.resize(3 * size * size, 0.0);
            resample(&self.planar, 3, CROP_PX, size, &mut self.sized).map_err(|e| e.to_string())?;
            &self.sized
        };
        self.codec.encode(1, source, out).map_err(|e| e.to_string())
    }

    /// The planar picture of latents, −1 to 1, not clamped.
    pub(super) fn decode(&mut self, latents: &[f32]) -> Result<&[f32], String> {
        let size = self.codec.size_px();
        let same = size == CROP_PX;
        self.scratch.resize(latents.len(), 0.0);
        let to = if same { &mut self.planar } else { &mut self.sized };
        to.resize(3 * size * size, 0.0);
        self.codec.decode(1, latents, &mut self.scratch, to).map_err(|e| e.to_string())?;
        if !same {
            self.planar.resize(3 * PLANE, 0.0);
            resample(&self.sized, 3, size, CROP_PX, &mut self.planar).map_err(|e| e.to_string())?;
        }
        Ok(&self.planar)
    }
}

#[cfg(test)]
mod tests {
    use super::{CROP_PX, Latents, PLANE};

    #[test]
    fn the_crops_own_size_comes_back_exactly_with_its_mask() {
        let mut latents = Latents::exact(4).expect("a divisor");
        let picture: Vec<f32> = (0..3 * PLANE).map(|i| (i % 256) as f32).collect();
        let (mut out, mut mask) = (vec![0.0; latents.len()], vec![0.0; latents.mask_len()]);
        latents.encode(&picture, &mut out).expect("encodes");
        let back = latents.decode(&out).expect("decodes").to_vec();
        for (i, p) in picture.chunks_exact(3).enumerate() {
            for c in 0..3 {
                assert_eq!(back[c * PLANE + i], p[c] / 127.5 - 1.0);
            }
        }
        let half: Vec<f32> = (0..PLANE).map(|i| if i % CROP_PX < 64 { 1.0 } else { 0.0 }).collect();
        latents.mask(&half, &mut mask).expect("encodes");
        assert!(latents.is_exact() && mask.iter().all(|m| *m == 0.0 || *m == 1.0) && mask.iter().sum::<f32>() == 1.5 * PLANE as f32);
        assert!(Latents::exact(3).is_err() && Latents::exact(0).is_err());
    }
}
