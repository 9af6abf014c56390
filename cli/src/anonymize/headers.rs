//! H.265's first packet, as it should be.
//!
//! GStreamer's `x265enc` puts the stream's headers before the first frame, which has them already, in a buffer that it
//! measures too long and hands on with what its memory held before: scraps of this process, at times taken for a
//! picture of their own, which no muxer has a time for.

use gst::prelude::*;

/// Start of a video parameter set in a byte stream: start code, type 32, layer 0, first temporal layer.
const PARAMETERS: [u8; 6] = [0, 0, 0, 1, 0x40, 0x01];

/// Lets each packet of `encoder` that begins with a video parameter set begin with the last one in it.
pub(super) fn without_scraps(encoder: &gst::Element) {
    let Some(out) = encoder.static_pad("src") else { return };
    out.add_probe(gst::PadProbeType::BUFFER, |_, info| {
        if let Some(gst::PadProbeData::Buffer(packet)) = &mut info.data {
            trim(packet);
        }
        gst::PadProbeReturn::Ok
    });
}

fn trim(packet: &mut gst::Buffer) {
    let begin = match packet.map_readable() {
        Ok(bytes) => begin(&bytes),
        Err(_) => return,
    };
    if begin > 0 {
        // Within the packet by `begin`, so that it cannot fail.
        let _ = packet.make_mut().resize(begin..);
    }
}

/// Where a packet's frame begins. Frames that bring headers begin with the video parameter set, and no start code can
/// stand inside of a frame (ITU-T H.265, 7.4.2: emulation prevention), so that nothing of it is taken for one.
fn begin(packet: &[u8]) -> usize {
    if !packet.starts_with(&PARAMETERS) {
        return 0;
    }
    packet.windows(PARAMETERS.len()).rposition(|at| at == PARAMETERS).unwrap_or(0)
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test ends by panicking"
)]
mod tests {
    use super::*;

    /// The packets of `frames` frames with their times, with the guard or without.
    fn packets(guarded: bool) -> Vec<(Option<gst::ClockTime>, Vec<u8>)> {
        gst::init().expect("GStreamer");
        let line = "videotestsrc num-buffers=8 ! video/x-raw,format=I420_10LE,width=64,height=64,framerate=25/1 \
            ! x265enc name=encoder speed-preset=ultrafast option-string=\"bframes=0:repeat-headers=1:pools=1:frame-threads=1:log-level=none\" \
            ! appsink name=end sync=false";
        let pipeline = gst::parse::launch(line)
            .expect("elements")
            .downcast::<gst::Pipeline>()
            .expect("a pipeline");
        if guarded {
            without_scraps(&pipeline.by_name("encoder").expect("the encoder"));
        }
        let end = pipeline
            .by_name("end")
            .expect("the end")
            .downcast::<gst_app::AppSink>()
            .expect("an appsink");
        pipeline.set_state(gst::State::Playing).expect("it plays");
        let mut all = Vec::new();
        while let Ok(sample) = end.pull_sample() {
            let packet = sample.buffer().expect("a packet");
            all.push((packet.pts(), packet.map_readable().expect("bytes").to_vec()));
        }
        pipeline.set_state(gst::State::Null).expect("it ends");
        all
    }

    fn sets(packet: &[u8]) -> usize {
        packet.windows(PARAMETERS.len()).filter(|at| *at == PARAMETERS).count()
    }

    #[test]
    fn the_first_packet_is_the_first_frame_and_nothing_else() {
        let (as_it_comes, guarded) = (packets(false), packets(true));
        assert_eq!(sets(&guarded[0].1), 1);
        assert!(guarded[0].1.starts_with(&PARAMETERS));
        assert!(as_it_comes[0].1.ends_with(&guarded[0].1), "the frame itself lost something");
        assert_eq!(as_it_comes[1..], guarded[1..], "other packets stay as they are");
        assert_eq!(as_it_comes[0].0, guarded[0].0, "the time stays");
        assert!(guarded.iter().all(|(time, _)| time.is_some()));
    }

    #[test]
    fn scraps_that_look_like_a_slice_go_and_packets_without_headers_stay() {
        let frame = [&PARAMETERS[..], &[7, 7], &[0, 0, 0, 1, 0x28, 1, 9]].concat();
        let scraps = [&PARAMETERS[..], &[7, 7, 0, 0, 0, 1, 4, 1, 5, 5], &frame].concat();
        assert_eq!(&scraps[begin(&scraps)..], frame);
        assert_eq!(begin(&frame), 0);
        assert_eq!(begin(&[0, 0, 0, 1, 2, 1, 8]), 0);
        assert_eq!(begin(&[]), 0);
    }
}
