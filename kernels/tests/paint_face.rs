//! Faces made on a device: what the definition promises, and the operators.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod support;

use std::sync::atomic::Ordering;

use nullface_kernels::cuda::args::FEW_PAINTED;
use nullface_kernels::cuda::ops::DeviceFrame;
use nullface_kernels::cuda::{Added, CudaError, DeviceFace, Finishing, Gpu, Moved, Painter, Painting, Pass, Reading};
use nullface_kernels::mask::Weights;
use nullface_kernels::paint_face::{Board, Sheet};
use nullface_kernels::{Affine, PixelFormat};
use support::face::{Case, Made, Model, Stand, THUMB, by_processor, cases, claim, compare, frame};
use support::shim::gpu;

#[test]
fn faces_made_on_a_device_are_the_definitions_any_number_at_once() {
    let (gpu, _) = gpu();
    let told = claim(&gpu).expect("holds");
    assert!(told.starts_with("18 faces painted"), "{told}");
    assert!(cases().len() > FEW_PAINTED);
}

#[test]
fn the_cases_have_what_they_are_to_show() {
    let (model, frame) = (Model::new(3), frame(PixelFormat::Rgb));
    let made: Vec<Made> = cases().iter().map(|c| by_processor(&model, &frame, c)).collect();
    let painted: Vec<_> = made.iter().filter_map(|m| m.painted.as_ref()).collect();
    assert_eq!((painted.len(), made.len()), (9, 12), "three cannot be painted");
    let fronts = painted.iter().filter(|p| p.has_front).count();
    assert!((1..9).contains(&fronts), "{fronts}");
    for (case, p) in cases().iter().zip(&made).filter_map(|(c, m)| Some((c, m.painted.as_ref()?))) {
        assert!(p.weight.iter().any(|w| *w > 0.99) && p.weight.contains(&0.0));
        let source = by_processor(
            &model,
            &frame,
            &Case {
                edit: None,
                from_prior: false,
                ..case.clone()
            },
        );
        let same = source.painted.expect("paints").seen == p.seen;
        assert_eq!(same, case.edit.is_none() && !case.from_prior, "an edit or a composite shows");
    }
}

#[test]
fn a_steady_stream_allocates_nothing_and_waits_twice_a_frame() {
    let (gpu, _) = gpu();
    let (model, cases) = (Model::new(3), &cases()[..4]);
    let mut stand = Stand::new(&gpu, &model).unwrap();
    let device = DeviceFrame::upload(&gpu, &frame(PixelFormat::Rgb).view()).unwrap();
    let mut thumbs = Vec::new();
    let before = gpu.traffic();
    stand.take(cases).expect("takes");
    let now = gpu.traffic();
    assert_eq!(
        (now.uploads - before.uploads, now.waits - before.waits),
        (6, 1 + 2),
        "four edits, two before them; a call a face, which here nobody waits between"
    );
    for n in 0..3 {
        let before = gpu.traffic();
        stand.make(&device, cases, &mut thumbs).expect("makes");
        let now = gpu.traffic();
        assert_eq!(now.waits - before.waits, 2, "thumbnails, totals");
        assert_eq!(
            (now.uploads - before.uploads, now.downloads - before.downloads),
            (2, 2),
            "meshes as they are painted, as edits move along; thumbnails, totals"
        );
        assert_eq!(now.uploaded - before.uploaded, 4 * 468 * 4 * (5 + 3), "no edit");
        // Four canvases, thumbnails, painting with its match of twelve, edits, finishing.
        assert_eq!(now.launches - before.launches, 4 + 1 + 27 + 2 + 1);
        assert!(n == 0 || now.allocations == before.allocations, "frame {n}");
    }
}

#[test]
fn one_face_has_one_result_alone_among_others_and_in_any_order_of_threads() {
    let (gpu, knobs) = gpu();
    let (model, cases, frame) = (Model::new(3), cases(), frame(PixelFormat::Rgb));
    let device = DeviceFrame::upload(&gpu, &frame.view()).unwrap();
    let together = Stand::new(&gpu, &model).unwrap().everything(&device, &cases).expect("makes");
    for (case, want) in cases.iter().zip(&together).step_by(3) {
        let alone = Stand::new(&gpu, &model)
            .unwrap()
            .everything(&device, std::slice::from_ref(case))
            .expect("makes");
        assert!(alone[0] == *want);
    }
    knobs.reverse.store(true, Ordering::SeqCst);
    let backwards = Stand::new(&gpu, &model).unwrap().everything(&device, &cases).expect("makes");
    assert!(backwards == together);
    // The same buffers for other faces: nothing of those before is left.
    knobs.reverse.store(false, Ordering::SeqCst);
    let mut stand = Stand::new(&gpu, &model).unwrap();
    let turned: Vec<Case> = cases.iter().rev().cloned().collect();
    stand.everything(&device, &turned).expect("makes");
    assert!(stand.everything(&device, &cases).expect("makes") == together);
}

#[test]
fn a_face_is_shown_by_a_trip_as_if_it_had_gone_up() {
    let (gpu, _) = gpu();
    let (model, cases, source) = (Model::new(3), &cases()[..3], frame(PixelFormat::Nv12));
    let mut stand = Stand::new(&gpu, &model).unwrap();
    let device = DeviceFrame::upload(&gpu, &source.view()).unwrap();
    let made = stand.everything(&device, cases).expect("makes");
    let run = |there: bool| {
        let (mut pass, mut out) = (Pass::new(&gpu), source.clone());
        pass.begin(&out.info);
        let before = gpu.traffic();
        for ((case, made), face) in cases.iter().zip(&made).zip(&stand.faces) {
            let (picture, inverse) = (made.painted.as_ref().unwrap(), case.map.inverse().unwrap());
            if there {
                pass.place_there(&face.shown().expect("finished"), &case.map, &inverse)
                    .expect("fits");
            } else {
                let weights = Weights {
                    values: &picture.weight,
                    side: case.board.side(),
                    frame_from_square: case.map,
                    square_from_frame: inverse,
                };
                pass.place(&picture.new, &weights).expect("fits");
            }
        }
        pass.run(&mut out.view_mut(), Some(&device)).expect("runs");
        (out, gpu.traffic().uploaded - before.uploaded)
    };
    let ((want, sent), (got, nothing)) = (run(false), run(true));
    assert!(want == got && want != source);
    assert!(sent > 10_000 && nothing == 0, "{sent} {nothing}");
}

fn words(result: Result<impl std::fmt::Debug, CudaError>) -> String {
    result.expect_err("does not fit").to_string()
}

#[test]
fn operands_that_do_not_fit_are_refused_before_anything_is_queued() {
    let ((gpu, knobs), (other, _)) = (gpu(), gpu());
    let (model, case) = (Model::new(3), cases().swap_remove(0));
    let sheet = model.sheet();
    let far = [[0, 1, 999]];
    for (word, sheet) in [
        (
            "mask",
            Sheet {
                mask: &sheet.mask[1..],
                ..sheet
            },
        ),
        (
            "corners",
            Sheet {
                triangles: &far,
                openings: 0,
                ..sheet
            },
        ),
        ("triangles", Sheet { triangles: &[], ..sheet }),
        ("openings", Sheet { openings: 4000, ..sheet }),
        ("texture size", Sheet { size_px: 0, ..sheet }),
    ] {
        let error = words(Painter::new(&gpu, &sheet));
        assert!(error.contains(&format!("cuda::Painter: {word}:")), "{error}");
    }
    let mut painter = Painter::new(&gpu, &sheet).unwrap();
    let (texture, theirs) = (painter.texture(&model.texture).unwrap(), Painter::new(&other, &sheet).unwrap());
    assert!(words(painter.texture(&model.texture[1..])).contains("values"));
    let foreign = theirs.texture(&model.texture).unwrap();
    let device = DeviceFrame::upload(&gpu, &frame(PixelFormat::Rgb).view()).unwrap();
    let (mut face, mut thumb) = (DeviceFace::default(), Vec::new());
    let mut read = |painter: &mut Painter, face: &mut DeviceFace, board, map, cells| {
        let reading = Reading {
            face,
            board,
            frame_from_canvas: map,
            thumb: &mut thumb,
        };
        painter.read(&device, &mut [reading], cells)
    };
    let odd = Board {
        crop_px: 33,
        margin_px: 4,
        k: 1,
    };
    let flat = Affine::scale_shift(0.0, 1.0, 0.0, 0.0);
    assert!(words(read(&mut painter, &mut face, odd, case.map, 1)).contains("side"));
    assert!(words(read(&mut painter, &mut face, case.board, case.map, 0)).contains("thumb"));
    assert!(words(read(&mut painter, &mut face, case.board, case.map, 7)).contains("thumb"));
    assert!(words(read(&mut painter, &mut face, case.board, flat, THUMB)).contains("frame_from_crop"));
    let compose = |painter: &mut Painter, face: &mut DeviceFace, texture, depth: &[f32], recipe| {
        let painting = Painting {
            face,
            texture,
            points: &case.points,
            moved: &case.moved,
            depth,
            recipe,
            keeps_front: true,
        };
        painter.compose(&mut [painting])
    };
    let finish = |painter: &mut Painter, face: &mut DeviceFace, added: Added<'_>| {
        painter.finish(&mut [Finishing {
            face,
            from_prior: true,
            added,
        }])
    };
    assert!(words(compose(&mut painter, &mut face, &texture, &case.depth, case.recipe)).contains("expected Read, got Empty"));
    assert!(knobs.launched.lock().unwrap().is_empty());
    read(&mut painter, &mut face, case.board, case.map, THUMB).expect("reads");
    knobs.launched.lock().unwrap().clear();
    let mut nan = case.depth.clone();
    nan[3] = f32::NAN;
    let mut crossed = case.recipe;
    crossed.matching.contrast = (2.0, 1.0);
    for (word, error) in [
        (
            "mesh",
            words(compose(&mut painter, &mut face, &texture, &case.depth[1..], case.recipe)),
        ),
        ("depth", words(compose(&mut painter, &mut face, &texture, &nan, case.recipe))),
        ("recipe", words(compose(&mut painter, &mut face, &texture, &case.depth, crossed))),
        (
            "texture",
            words(compose(&mut painter, &mut face, &foreign, &case.depth, case.recipe)),
        ),
        ("face", words(finish(&mut painter, &mut face, Added::Nothing))),
    ] {
        assert!(error.contains(&format!("{word}:")), "{word}: {error}");
    }
    assert!(knobs.launched.lock().unwrap().is_empty());
    assert!(face.shown().is_none() && face.seen().is_none());
    compose(&mut painter, &mut face, &texture, &case.depth, case.recipe).expect("paints");
    assert!(words(finish(&mut painter, &mut face, Added::Here(&[0.0; 5]))).contains("edit"));
    let (points, depth) = case.in_crop();
    let edit = case.edit.as_deref().unwrap();
    assert!(words(painter.keep(&[(edit, &points[1..])])).contains("points"));
    let [own, short] = painter.keep(&[(edit, &points), (&edit[3..], &points)]).unwrap().try_into().unwrap();
    let anothers = Painter::new(&gpu, &sheet).unwrap().keep(&[(edit, &points)]).unwrap().swap_remove(0);
    assert!(painter.holds(&own) && !painter.holds(&anothers) && own.gpu().is_same(&gpu));
    let good = Moved {
        edit: &own,
        before: None,
        points: &points,
        depth: &depth,
    };
    let mut wild = depth.clone();
    wild[2] = f32::INFINITY;
    knobs.launched.lock().unwrap().clear();
    for (word, moved) in [
        ("edit: expected of this painter", Moved { edit: &anothers, ..good }),
        ("edit: expected 3072", Moved { edit: &short, ..good }),
        (
            "edit: expected of this painter",
            Moved {
                before: Some((&anothers, 0.5)),
                ..good
            },
        ),
        (
            "share",
            Moved {
                before: Some((&own, 1.5)),
                ..good
            },
        ),
        (
            "mesh",
            Moved {
                points: &points[1..],
                ..good
            },
        ),
        (
            "mesh",
            Moved {
                depth: &depth[1..],
                ..good
            },
        ),
        ("depth", Moved { depth: &wild, ..good }),
    ] {
        let error = words(finish(&mut painter, &mut face, Added::Moved(moved)));
        assert!(error.contains(word), "{word}: {error}");
    }
    assert!(knobs.launched.lock().unwrap().is_empty());
    assert!(face.shown().is_none(), "not finished");
    finish(&mut painter, &mut face, Added::Moved(good)).expect("finishes");
    assert!(face.shown().is_some() && face.seen().is_some());
    let shown = face.shown().unwrap();
    let mut pass = Pass::new(&other);
    pass.begin(&frame(PixelFormat::Rgb).info);
    let mixed = pass.place_there(&shown, &case.map, &case.map.inverse().unwrap());
    assert!(matches!(mixed, Err(CudaError::Mixed { what: "picture", .. })), "{mixed:?}");
    let moved = compose(
        &mut Painter::new(&other, &sheet).unwrap(),
        &mut face,
        &foreign,
        &case.depth,
        case.recipe,
    );
    assert!(matches!(moved, Err(CudaError::Mixed { what: "face", .. })), "{moved:?}");
    // Read anew it is not finished any more.
    read(&mut painter, &mut face, case.board, case.map, THUMB).expect("reads");
    assert!(face.shown().is_none() && face.seen().is_none());
}

#[test]
fn a_picture_that_only_a_device_has_is_refused_by_the_processor() {
    let (gpu, _) = gpu();
    let (model, case) = (Model::new(3), cases().swap_remove(0));
    let mut stand = Stand::new(&gpu, &model).unwrap();
    let device = DeviceFrame::upload(&gpu, &frame(PixelFormat::Rgb).view()).unwrap();
    stand.everything(&device, std::slice::from_ref(&case)).expect("makes");
    let image = nullface_kernels::Image::there(stand.faces[0].seen().expect("finished"));
    let mut out = vec![0; 3 * 16];
    let refused = nullface_kernels::crop::crop_affine_u8(&image, &Affine::IDENTITY, 4, 4, &mut out);
    assert!(
        refused
            .unwrap_err()
            .to_string()
            .contains("pixels: expected in the processor's memory, got on cuda:0")
    );
    assert!(nullface_kernels::luma::thumbnail(&image, 4, 4, &mut [0; 16]).is_err());
    assert_eq!(nullface_kernels::luma::histogram(&image, &mut [0; 64]), 0);
    assert!(DeviceFrame::upload(&gpu, &image).is_err());
    assert!(image.resident().expect("there").on_device(&image).is_ok());
}

fn whole(gpu: &Gpu, model: &Model, case: &Case) -> Result<Vec<Made>, CudaError> {
    let device = DeviceFrame::upload(gpu, &frame(PixelFormat::Rgb).view())?;
    Stand::new(gpu, model)?.everything(&device, std::slice::from_ref(case))
}

#[test]
fn a_device_lost_at_any_call_is_told_and_memory_is_given_back() {
    let (model, case) = (Model::new(3), cases().swap_remove(0));
    let mut lost = 0;
    for calls in 0.. {
        let (gpu, knobs) = gpu();
        knobs.calls_left.store(calls, Ordering::SeqCst);
        match whole(&gpu, &model, &case) {
            Ok(_) => break,
            Err(e) => assert!(e.is_lost(), "call {calls}: {e}"),
        }
        lost += 1;
        drop(gpu);
        assert_eq!(knobs.used.load(Ordering::SeqCst), 0, "call {calls}");
    }
    assert!(lost > 60, "{lost}");
}

#[test]
fn too_little_memory_is_told_at_whatever_buffer_and_the_next_face_is_whole() {
    let (model, case) = (Model::new(3), cases().swap_remove(1));
    let want = by_processor(&model, &frame(PixelFormat::Rgb), &case);
    let (gpu, knobs) = gpu();
    whole(&gpu, &model, &case).expect("fits");
    gpu.trim();
    let mut refused = 0;
    for memory in (60_000..).step_by(150_000) {
        knobs.memory.store(memory, Ordering::SeqCst);
        match whole(&gpu, &model, &case) {
            Err(CudaError::Memory { total, .. }) => assert_eq!(total, memory),
            Err(CudaError::LockedMemory { .. }) => {}
            Err(e) => panic!("{memory}: {e}"),
            Ok(got) => {
                compare(&case, &got[0], &want).expect("whole");
                break;
            }
        }
        gpu.trim();
        refused += 1;
    }
    assert!(refused > 3, "{refused}");
}
