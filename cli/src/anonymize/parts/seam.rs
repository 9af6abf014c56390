//! What crosses the seam of two parts where faces are replaced:
//!
//! | | how | why |
//! |---|---|---|
//! | what was decided about people | a file beside the part that decided it | people stay who they became |
//! | the frames in which each person is first seen | from memory | what is learnt of a face, its embedding and its own shape, is learnt there in every part, and so the same |
//! | the frames before the seam | from memory | meshes and edits are on their faces when the first frame is shown |
//!
//! Nothing that is learnt of a face is ever written down. All of it crosses whether the run was interrupted or not, as
//! the film is decoded from its begin anyway: so the parts are the same either way.
//!
//! Limits: where the room for first frames is used up, people who come later are learnt from the frames before the
//! seam; their faces may then be of slightly another shape in each part.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nullface::pipeline::Handover;
use nullface::secret::SessionSecret;
use nullface::tracks::{Decision, Placed};

/// How much of the film before a part its filter works through first.
const RUN_IN: gst::ClockTime = gst::ClockTime::from_seconds(1);
/// Frames in which a person is first seen: as many as the filter learns a face's own shape from.
const FIRST_FRAMES: u32 = 25;
/// Most memory for the frames of each kind.
const MOST_BYTES: usize = 128 << 20;

/// Where a part's decisions lie.
pub(super) fn handover(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:06}.handover"))
}

/// Whether decisions were made under this secret.
pub(super) fn is_ours(path: &Path, secret: &SessionSecret) -> bool {
    let read = std::fs::read_to_string(path).ok().and_then(|text| Handover::parse(&text).ok());
    read.is_some_and(|handover| handover.is_sealed_by(secret))
}

/// Which frames are kept for later parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    /// Somebody is first seen in it: for all parts.
    First,
    /// It is among the last of its part: for the next one.
    Last,
}

/// Frames that the filters of later parts work through before their own, in order.
#[derive(Debug, Default)]
pub(super) struct RunIn {
    frames: Vec<(Kept, gst::Sample)>,
    /// Frames so far in which a person was seen.
    seen: HashMap<u64, u32>,
}

impl RunIn {
    /// Keeps a frame where it is one of the first of somebody in it, or shown at most a second before its part ends in
    /// `left`. The copy is the program's own: decoders wait for buffers that do not come back.
    ///
    /// # Errors
    /// There is no memory for it.
    pub(super) fn keep(&mut self, sample: &gst::Sample, people: &[Placed], left: gst::ClockTime) -> Result<()> {
        let frame = sample.buffer().context("a sample without a frame")?;
        let mut is_first = false;
        for placed in people.iter().filter(|p| p.decision == Decision::Anonymise) {
            let seen = self.seen.entry(placed.person).or_default();
            *seen = seen.saturating_add(1);
            is_first |= *seen <= FIRST_FRAMES;
        }
        let kind = match is_first && self.bytes(Kept::First) + frame.size() <= MOST_BYTES {
            true => Kept::First,
            false if left <= RUN_IN => Kept::Last,
            false => return Ok(()),
        };
        let mut copy = frame.copy_deep().context("no memory for a frame")?;
        copy.make_mut().set_flags(gst::BufferFlags::DECODE_ONLY);
        let caps = sample.caps_owned();
        let kept = gst::Sample::builder().buffer(&copy).caps_if_some(caps.as_ref());
        self.frames.push((kind, kept.segment_if_some(sample.segment()).build()));
        while self.bytes(Kept::Last) > MOST_BYTES
            && let Some(oldest) = self.frames.iter().position(|(kind, _)| *kind == Kept::Last)
        {
            self.frames.remove(oldest);
        }
        Ok(())
    }

    fn bytes(&self, wanted: Kept) -> usize {
        let frames = self.frames.iter().filter(|(kind, _)| *kind == wanted);
        frames.filter_map(|(_, s)| s.buffer()).map(gst::BufferRef::size).sum()
    }

    /// The frames for the part that begins now.
    pub(super) fn begin_part(&mut self) -> Vec<gst::Sample> {
        let frames = self.frames.iter().map(|(_, sample)| sample.clone()).collect();
        self.frames.retain(|(kind, _)| *kind == Kept::First);
        frames
    }
}

#[cfg(test)]
mod tests {
    use nullface::frame::BoxPx;
    use nullface::tracks::{Decision, Origin, Placed};

    use super::{FIRST_FRAMES, MOST_BYTES, RUN_IN, RunIn};

    fn sample(bytes: usize) -> gst::Sample {
        gst::init().expect("GStreamer");
        gst::Sample::builder()
            .buffer(&gst::Buffer::with_size(bytes).expect("memory"))
            .build()
    }

    fn sizes(frames: &[gst::Sample]) -> Vec<usize> {
        let size = |frame: &gst::Sample| {
            let buffer = frame.buffer().expect("a frame");
            assert!(buffer.flags().contains(gst::BufferFlags::DECODE_ONLY));
            buffer.size()
        };
        frames.iter().map(size).collect()
    }

    fn person(person: u64) -> Placed {
        Placed {
            track: person,
            person,
            decision: Decision::Anonymise,
            origin: Origin::Detected,
            box_px: BoxPx::default(),
        }
    }

    #[test]
    fn the_last_second_is_kept_as_far_as_there_is_room_for_one_part() {
        let mut run_in = RunIn::default();
        run_in
            .keep(&sample(8), &[], RUN_IN + gst::ClockTime::from_nseconds(1))
            .expect("room");
        assert!(run_in.begin_part().is_empty());
        for size in [1, MOST_BYTES / 2, MOST_BYTES / 2 - 1, 2] {
            run_in.keep(&sample(size), &[], RUN_IN).expect("room");
        }
        assert_eq!(sizes(&run_in.begin_part()), [MOST_BYTES / 2 - 1, 2], "the oldest made room");
        assert!(run_in.begin_part().is_empty());
    }

    #[test]
    fn the_first_frames_of_each_person_are_kept_for_all_parts() {
        let (mut run_in, far) = (RunIn::default(), RUN_IN * 2);
        for size in 1..=FIRST_FRAMES as usize + 5 {
            run_in.keep(&sample(size), &[person(1)], far).expect("room");
        }
        run_in.keep(&sample(99), &[person(1), person(2)], far).expect("room");
        run_in.keep(&sample(100), &[person(1)], RUN_IN).expect("room");
        let firsts: Vec<usize> = (1..=FIRST_FRAMES as usize).chain([99]).collect();
        assert_eq!(sizes(&run_in.begin_part()), [firsts.clone(), vec![100]].concat());
        assert_eq!(sizes(&run_in.begin_part()), firsts);
        let mut kept = person(3);
        kept.decision = Decision::Keep;
        run_in.keep(&sample(7), &[kept], far).expect("room");
        assert_eq!(sizes(&run_in.begin_part()), firsts, "of whom is not replaced nothing is learnt");
        run_in.keep(&sample(MOST_BYTES), &[person(4)], far).expect("room");
        assert_eq!(sizes(&run_in.begin_part()), firsts, "no room left");
    }
}
