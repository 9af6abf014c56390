//! What is measured of one face at a sample, and in the frame after it.

use super::{BASELINES, Look, Meter, Next, Pending, Sample, WORST, Worst, sound};
use crate::eval::EvalError;
use crate::eval::follow::{Face, hint_of};
use crate::eval::gaze::{self, Gaze};
use crate::eval::judge::{Judged, Verdict};
use crate::eval::picture::{self, Luma, Window};
use crate::eval::shape;
use crate::frame::{FrameInfo, FrameView, FrameViewMut, Landmarks5, Matrix, Mesh, PixelFormat, PlaneMut, Pts, Range};
use crate::pipeline::Settings;
use crate::stages::align;
use crate::stages::blend::{self, Shape};

impl Meter {
    pub(super) fn sample(
        &mut self,
        at: Pts,
        from: &FrameView<'_>,
        to: &FrameView<'_>,
        face: &Face,
        mesh: Option<&Mesh>,
        baselines: Option<Vec<Look>>,
    ) -> Result<(), EvalError> {
        let Some(source) = self.judges.look(from, std::slice::from_ref(&face.landmarks))?.pop() else {
            return Ok(());
        };
        let own = mesh.and_then(Mesh::landmarks5).filter(sound);
        let places: Vec<Landmarks5> = std::iter::once(face.landmarks).chain(own).collect();
        let judged = nearest(self.judges.look(to, &places)?, &source, self.judges.verdicts());
        let source_gaze = match &face.mesh {
            Some(mesh) => self.irises.offsets(from, mesh)?,
            None => None,
        };
        let output = self.look(to, from, face, mesh, judged, source_gaze.as_ref())?;
        let window = Window::for_flow(&face.box_px);
        let pending = match (&face.mesh, window) {
            (Some(mesh), Some(window)) => window.inside(mesh, 1.0).map(|inside| (window, inside)),
            _ => None,
        };
        let window = match pending {
            Some((window, inside)) => {
                let luma = Luma {
                    source: window.luma(from)?,
                    output: window.luma(to)?,
                };
                Some((window, inside, luma))
            }
            None => None,
        };
        let touched = match Window::around(&face.box_px, 0.6, 96) {
            Some(middle) => {
                let (a, b) = (middle.luma(from)?, middle.luma(to)?);
                a.iter().zip(&b).map(|(p, q)| f64::from((p - q).abs())).sum::<f64>() / a.len() as f64
            }
            None => f64::INFINITY,
        };
        self.pending.insert(
            face.track,
            Pending {
                window,
                mesh: face.mesh.clone(),
                gaze: source_gaze,
            },
        );
        self.keep_if_worst(at, to, face, &source, &output.judged)?;
        self.track(face.track).samples.push(Sample {
            at,
            source,
            eyes_px: face.landmarks.inter_ocular_px(),
            output,
            baselines,
            touched,
            next: None,
        });
        Ok(())
    }

    fn keep_if_worst(&mut self, at: Pts, to: &FrameView<'_>, face: &Face, source: &Judged, output: &Judged) -> Result<(), EvalError> {
        let likeness = |(i, v): (usize, &Verdict)| {
            let score = v.score(&output.embeddings[i], &source.embeddings[i]);
            Some((v.likeness(score).filter(|_| v.held_out)?, v.name.clone()))
        };
        let seen = self.judges.verdicts().iter().enumerate().filter_map(likeness);
        let Some((likeness, recogniser)) = seen.max_by(|a, b| a.0.total_cmp(&b.0)) else {
            return Ok(());
        };
        let worst = &mut self.record.worst;
        if worst.len() >= WORST && worst.last().is_some_and(|w| w.likeness >= likeness) {
            return Ok(());
        }
        let Some(window) = (face.box_px.is_valid()).then(|| face.box_px.scaled(1.3)) else {
            return Ok(());
        };
        let (side, [cx, cy]) = (window.side(), window.center());
        let scale = side / Worst::SIDE_PX as f32;
        let map = crate::frame::Affine::scale_shift(scale, scale, cx - side / 2.0, cy - side / 2.0);
        let mut rgb = vec![0; Worst::SIDE_PX * Worst::SIDE_PX * 3];
        nullface_kernels::crop::crop_affine_u8(to, &map, Worst::SIDE_PX, Worst::SIDE_PX, &mut rgb)?;
        let place = worst.partition_point(|w| w.likeness >= likeness);
        worst.insert(
            place,
            Worst {
                film: self.film,
                track: face.track,
                at,
                likeness,
                recogniser,
                rgb,
            },
        );
        worst.truncate(WORST);
        Ok(())
    }

    fn look(
        &mut self,
        to: &FrameView<'_>,
        from: &FrameView<'_>,
        face: &Face,
        mesh: Option<&Mesh>,
        judged: Judged,
        source_gaze: Option<&Gaze>,
    ) -> Result<Look, EvalError> {
        let (mut form, mut eyes, mut sharpness) = (None, None, None);
        if let Some(own) = &face.mesh {
            sharpness = picture::sharpness(from, own, to)?.map(|(a, b)| (b, a));
            if let Some(theirs) = mesh {
                form = shape::compare(own, theirs)?;
                if let Some(source) = source_gaze {
                    eyes = self.irises.offsets(to, theirs)?.map(|g| gaze::difference(source, &g));
                }
            }
        }
        Ok(Look {
            judged,
            mesh_found: mesh.is_some(),
            shape: form,
            gaze: eyes,
            sharpness,
        })
    }

    pub(super) fn baselines(&mut self, from: &FrameView<'_>, source: &[u8], face: &Face) -> Result<Vec<Look>, EvalError> {
        let defaults = Settings::default();
        let oval = face.mesh.as_ref().and_then(|m| align::oval_polygon(m, 1.0)).unwrap_or_default();
        let shape = Shape {
            box_px: face.box_px,
            oval_px: &oval,
            roll_rad: face.landmarks.roll_rad(),
            scale: defaults.mask_scale,
            feather: defaults.feather,
        };
        let (width, height) = (from.width(), from.height());
        let source_gaze = match &face.mesh {
            Some(mesh) => self.irises.offsets(from, mesh)?,
            None => None,
        };
        let mut looks = Vec::with_capacity(BASELINES.len());
        let mut covered = std::mem::take(&mut self.buffer);
        for (_, how) in BASELINES {
            covered.clear();
            covered.extend_from_slice(source);
            if let Some(mask) = self.masker.mask(&shape, width, height)? {
                let info = FrameInfo {
                    format: PixelFormat::Rgb,
                    width,
                    height,
                    matrix: Matrix::Bt709,
                    range: Range::Full,
                };
                let plane = PlaneMut {
                    data: &mut covered,
                    stride: width as usize * 3,
                };
                blend::apply(&mut FrameViewMut::new(info, vec![plane])?, mask, how, defaults.fill_rgb)?;
            }
            let to = crate::eval::rgb_view(width, height, &covered)?;
            let mesh = self
                .follower
                .meshes(&to, &[hint_of(&face.box_px, &face.landmarks)])?
                .pop()
                .flatten();
            let Some(judged) = self.judges.look(&to, std::slice::from_ref(&face.landmarks))?.pop() else {
                continue;
            };
            looks.push(self.look(&to, from, face, mesh.as_ref(), judged, source_gaze.as_ref())?);
        }
        self.buffer = covered;
        Ok(looks)
    }

    pub(super) fn after(
        &mut self,
        from: &FrameView<'_>,
        to: &FrameView<'_>,
        faces: &[Face],
        meshes: &[Option<Mesh>],
    ) -> Result<(), EvalError> {
        for (face, mesh) in faces.iter().zip(meshes) {
            let Some(before) = self.pending.remove(&face.track) else { continue };
            let place = mesh.as_ref().and_then(Mesh::landmarks5).filter(sound).unwrap_or(face.landmarks);
            let source = self.judges.look(from, std::slice::from_ref(&face.landmarks))?.pop();
            let output = self.judges.recognise(to, &[place])?.pop();
            let (Some(source), Some(output)) = (source, output) else { continue };
            let warp = match &before.window {
                Some((window, inside, now)) => {
                    let next = Luma {
                        source: window.luma(from)?,
                        output: window.luma(to)?,
                    };
                    picture::warp_error(window, inside, now, &next)?
                }
                None => None,
            };
            let (mut floor, mut gaze_floor) = (None, None);
            if let (Some(a), Some(b)) = (&before.mesh, &face.mesh) {
                floor = shape::compare(a, b)?;
                if let (Some(g), Some(h)) = (&before.gaze, self.irises.offsets(from, b)?) {
                    gaze_floor = Some(gaze::difference(g, &h));
                }
            }
            if let Some(sample) = self.track(face.track).samples.last_mut() {
                sample.next = Some(Next {
                    source,
                    output,
                    warp,
                    floor,
                    gaze_floor,
                });
            }
        }
        Ok(())
    }
}

/// Of several alignments of one face, for each recogniser the embedding that is nearest to the source;
/// attributes of the last one, the output's own where it has a mesh.
fn nearest(looks: Vec<Judged>, source: &Judged, verdicts: &[Verdict]) -> Judged {
    let mut best = looks.last().cloned().unwrap_or_default();
    for (i, verdict) in verdicts.iter().enumerate() {
        let score = |j: &Judged| verdict.score(&j.embeddings[i], &source.embeddings[i]);
        if let Some(nearest) = looks.iter().max_by(|a, b| score(a).total_cmp(&score(b))) {
            best.embeddings[i].clone_from(&nearest.embeddings[i]);
        }
    }
    best
}
