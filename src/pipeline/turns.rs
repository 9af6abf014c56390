//! Whose turn it is where a frame has room for some faces only.
//!
//! 1. who has the turn keeps it for its length (one frame for the denoiser, longer where a face that
//!    comes and goes would flicker)
//! 2. who has waited longest; a face that never had a turn counts as having waited [`HEAD_START`] frames
//!    more, so that new faces come first without pushing others back for ever
//! 3. the largest
//!
//! So n faces with room for k have all had their turn of one frame within ⌈n/k⌉ frames, and the first
//! ones are the newest and largest. Pure: frames are counted and no clock is asked.

use std::collections::HashMap;

/// Frames that a face without a turn is ahead of the others.
const HEAD_START: u64 = 50;
/// Frames after which a face that no longer asks is forgotten.
const FORGET: u64 = 250;

/// One who asks for a turn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Asking {
    /// Which track.
    pub(super) track: u64,
    /// Area of the face, px².
    pub(super) area_px: f32,
}

#[derive(Debug, Clone, Copy)]
struct Memory {
    /// Frame from which waiting counts.
    since: u64,
    /// Frame in which the turn began, where it goes on.
    began: Option<u64>,
    asked: u64,
}

/// Remembers who had a turn when.
#[derive(Debug)]
pub(super) struct Turns {
    /// Frames.
    length: u64,
    frame: u64,
    faces: HashMap<u64, Memory>,
    order: Vec<usize>,
}

impl Turns {
    /// Turns of so many frames.
    pub(super) fn of_frames(length: u32) -> Self {
        Self {
            length: u64::from(length.max(1)),
            // So that a head start can be counted from the first frame on.
            frame: HEAD_START,
            faces: HashMap::new(),
            order: Vec::new(),
        }
    }

    /// Gives turns to at most `room` of those who ask in this frame; `chosen` says for each whether.
    pub(super) fn choose(&mut self, asking: &[Asking], room: usize, chosen: &mut Vec<bool>) {
        self.frame += 1;
        let (now, length) = (self.frame, self.length);
        self.faces.retain(|_, m| now - m.asked < FORGET);
        for face in asking {
            let memory = self.faces.entry(face.track).or_insert(Memory {
                since: now - HEAD_START,
                began: None,
                asked: now,
            });
            memory.asked = now;
            if memory.began.is_some_and(|began| now - began >= length) {
                memory.began = None;
            }
        }
        let faces = &self.faces;
        let key = |i: usize| {
            let face = asking.get(i)?;
            let memory = faces.get(&face.track)?;
            Some((memory.began.is_none(), memory.since, face))
        };
        self.order.clear();
        self.order.extend(0..asking.len());
        self.order.sort_by(|a, b| match (key(*a), key(*b)) {
            (Some((a_waits, a_since, a)), Some((b_waits, b_since, b))) => (a_waits, a_since)
                .cmp(&(b_waits, b_since))
                .then(b.area_px.total_cmp(&a.area_px))
                .then(a.track.cmp(&b.track)),
            _ => std::cmp::Ordering::Equal,
        });
        chosen.clear();
        chosen.resize(asking.len(), false);
        for i in self.order.iter().take(room) {
            let (Some(face), Some(chosen)) = (asking.get(*i), chosen.get_mut(*i)) else {
                continue;
            };
            *chosen = true;
            if let Some(memory) = self.faces.get_mut(&face.track) {
                // Waiting counts from the end of the turn's last frame.
                memory.since = now;
                memory.began.get_or_insert(now);
            }
        }
        for i in self.order.iter().skip(room) {
            if let Some(memory) = asking.get(*i).and_then(|face| self.faces.get_mut(&face.track)) {
                memory.began = None;
            }
        }
    }

    /// Forgets everybody.
    pub(super) fn clear(&mut self) {
        self.faces.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn faces(areas: &[f32]) -> Vec<Asking> {
        let one = |(i, area): (usize, &f32)| Asking {
            track: i as u64,
            area_px: *area,
        };
        areas.iter().enumerate().map(one).collect()
    }

    fn turn(turns: &mut Turns, asking: &[Asking], room: usize) -> Vec<u64> {
        let mut chosen = Vec::new();
        turns.choose(asking, room, &mut chosen);
        asking.iter().zip(chosen).filter(|c| c.1).map(|c| c.0.track).collect()
    }

    #[test]
    fn the_largest_come_first_and_then_those_who_waited() {
        let mut turns = Turns::of_frames(1);
        let asking = faces(&[4.0, 9.0, 1.0, 16.0, 2.0]);
        assert_eq!(turn(&mut turns, &asking, 2), [1, 3]);
        assert_eq!(turn(&mut turns, &asking, 2), [0, 4]);
        assert_eq!(
            turn(&mut turns, &asking, 2),
            [2, 3],
            "the last one who waited, then the largest again"
        );
    }

    #[test]
    fn a_new_face_is_next_however_small() {
        let mut turns = Turns::of_frames(1);
        let mut asking = faces(&[9.0; 12]);
        for _ in 0..7 {
            turn(&mut turns, &asking, 3);
        }
        asking.push(Asking { track: 99, area_px: 1.0 });
        assert!(turn(&mut turns, &asking, 1).contains(&99));
    }

    #[test]
    fn a_long_turn_is_not_broken_and_is_passed_on_at_its_end() {
        let mut turns = Turns::of_frames(5);
        let asking = faces(&[3.0, 2.0, 1.0]);
        let shown: Vec<u64> = (0..15).flat_map(|_| turn(&mut turns, &asking, 1)).collect();
        assert_eq!(shown, [[0; 5], [1; 5], [2; 5]].concat());
    }

    #[test]
    fn no_room_is_nobodys_turn() {
        assert!(turn(&mut Turns::of_frames(3), &faces(&[1.0, 2.0]), 0).is_empty());
    }

    #[test]
    fn forty_faces_share_the_denoiser_evenly_and_newcomers_are_first_whoever_waits() {
        for room in [1, 3, 7] {
            let areas: Vec<f32> = (0..40).map(|i| 100.0 + i as f32).collect();
            let (mut turns, mut asking) = (Turns::of_frames(1), faces(&areas));
            let mut runs = vec![0_usize; 44];
            for frame in 0..4_000 {
                if frame == 2_000 {
                    // Smaller than everybody, and one that is larger than those beside it.
                    asking.extend(
                        [1.0, 2.0, 50.0, 3.0]
                            .iter()
                            .zip(40..)
                            .map(|(area, track)| Asking { track, area_px: *area }),
                    );
                }
                let chosen = turn(&mut turns, &asking, room);
                let first: Vec<u64> = [42, 43, 41, 40].into_iter().take(room).collect();
                if frame == 2_000 {
                    assert!(first.iter().all(|track| chosen.contains(track)), "{chosen:?}");
                }
                chosen.iter().for_each(|track| runs[*track as usize] += 1);
            }
            // A face has one run in n/k frames, rounded up for the smaller of those that waited equally long.
            let rounds = |frames: usize, of: usize| [frames / of.div_ceil(room), frames.div_ceil(of / room)];
            for (who, before) in [(0..40, rounds(2_000, 40)), (40..44, [0, 0])] {
                let after = rounds(2_000, 44);
                let share = before[0] + after[0] - 1..=before[1] + after[1] + 1;
                let runs = &runs[who];
                assert!(
                    runs.iter().all(|n| share.contains(n)),
                    "{room} a frame: {share:?} runs expected, got {runs:?}"
                );
            }
        }
    }

    #[test]
    fn aging_brings_a_face_whose_edit_wears_out_slowly_its_run_among_those_that_ask_in_every_frame() {
        let mut turns = Turns::of_frames(1);
        let all = faces(&[9.0; 40]);
        let mut waits = Vec::new();
        let mut since = None;
        for frame in 0..5_000_u64 {
            // The first one asks once its edit is 90 frames old, and until it has another.
            let asks = since.is_none_or(|since| frame - since >= 90);
            let asking = if asks { &all[..] } else { &all[1..] };
            if turn(&mut turns, asking, 1).contains(&0) {
                waits.extend(since.map(|since| frame - since - 90));
                since = Some(frame);
            }
        }
        assert!(waits.len() > 30 && waits.iter().all(|w| *w <= 40), "{waits:?}");
    }

    proptest! {
        #[test]
        fn each_of_n_faces_has_its_turn_within_n_over_k_frames(
            areas in prop::collection::vec(1.0_f32..1e5, 1..64), room in 1_usize..12, length in 1_u32..30
        ) {
            let asking = faces(&areas);
            let (mut turns, mut again) = (Turns::of_frames(length), Turns::of_frames(length));
            let rounds = areas.len().div_ceil(room);
            let frames = rounds * length as usize;
            let mut last = vec![None; areas.len()];
            for frame in 0..4 * frames {
                let chosen = turn(&mut turns, &asking, room);
                prop_assert_eq!(&chosen, &turn(&mut again, &asking, room));
                prop_assert_eq!(chosen.len(), room.min(areas.len()));
                if frame == 0 {
                    let least = chosen.iter().map(|i| areas[*i as usize]).fold(f32::MAX, f32::min);
                    let larger = areas.iter().filter(|a| **a > least).count();
                    prop_assert!(larger < room, "the largest have the first turn");
                }
                for i in chosen {
                    last[i as usize] = Some(frame);
                }
                for last in &last {
                    let waits = last.map_or(frame + 1, |last| frame - last);
                    prop_assert!(waits <= frames, "{waits} frames, {frames} allowed");
                }
            }
        }

        #[test]
        fn a_stream_of_new_faces_starves_nobody(old in 1_usize..20, arrivals in 1_usize..4, room in 1_usize..4) {
            // Every frame brings new faces, each of which stays for one frame.
            let mut turns = Turns::of_frames(1);
            let mut waits = vec![0_usize; old];
            for frame in 0..400_usize {
                let mut asking = faces(&vec![1.0; old]);
                asking.extend((0..arrivals).map(|n| Asking {
                    track: (1000 + frame * 10 + n) as u64,
                    area_px: 1e6,
                }));
                let chosen = turn(&mut turns, &asking, room);
                for (i, wait) in waits.iter_mut().enumerate() {
                    *wait = if chosen.contains(&(i as u64)) { 0 } else { *wait + 1 };
                    prop_assert!(*wait <= HEAD_START as usize + 2 + old.div_ceil(room), "{wait} frames");
                }
            }
        }
    }
}
