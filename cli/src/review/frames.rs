//! Single frames of a film as JPEG, in memory only: the one that is shown at a moment, with the time from which it is
//! shown and that of the next. Decoding goes on from where it is, where that is near; else from the key frame
//! before. The last frames that passed are held, so that steps back are cheap.

use std::collections::VecDeque;

use anyhow::{Context, Result, anyhow};
use gst::prelude::*;
use nullface::frame::Pts;

use crate::anonymize::Source;
use crate::exit::refuse;
use crate::film::Film;

/// Decoded frames that are held at most, bytes.
const HELD_BYTES: usize = 64 << 20;
/// What is nearer than this in front is reached by decoding on.
const NEAR_NS: u64 = 2_000_000_000;
/// First step back where a container does not find the key frame before, ns; later ones are four times as long.
const BACK_NS: u64 = 1_000_000_000;
/// Longest that one picture may take to be encoded.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(20);
/// Widest picture shown, px.
const WIDEST: u32 = 1280;

/// A frame.
#[derive(Debug)]
struct Frame {
    at: Pts,
    sample: gst::Sample,
    bytes: usize,
}

/// A frame as the page shows it.
#[derive(Debug)]
pub(super) struct Shown {
    /// When it is shown first.
    pub(super) at: Pts,
    /// When the next one is; none for the last.
    pub(super) next: Option<Pts>,
    /// The picture.
    pub(super) jpeg: Vec<u8>,
}

/// Which frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The one shown at a moment; before the first and after the last: those.
    At(Pts),
    /// The one after that.
    After(Pts),
    /// The one before that.
    Before(Pts),
}

/// A film of which single frames are asked for.
#[derive(Debug)]
pub(super) struct Frames {
    film: std::path::PathBuf,
    source: Source,
    encoder: Encoder,
    first: Pts,
    /// The last is where decoding is.
    held: VecDeque<Frame>,
    next: Option<Frame>,
}

impl Frames {
    /// Starts decoding.
    ///
    /// # Errors
    /// One sentence that names the film, what is the matter and the remedy.
    pub(super) fn open(film: &Film) -> Result<Self> {
        let mut made = Self {
            film: film.path.clone(),
            source: Source::open(film, None)?,
            encoder: Encoder::start()?,
            first: Pts(0),
            held: VecDeque::new(),
            next: None,
        };
        made.next = made.pull()?;
        made.advance()?;
        made.first = made.held.front().map(|f| f.at).ok_or_else(|| made.no_frame())?;
        Ok(made)
    }

    /// A frame.
    ///
    /// # Errors
    /// The film cannot be decoded there.
    pub(super) fn show(&mut self, which: Which) -> Result<Shown> {
        let place = match which {
            Which::At(at) => self.find(at)?,
            Which::After(at) => match self.find(at)? + 1 {
                ahead if ahead == self.held.len() => {
                    self.advance()?;
                    self.held.len() - 1
                }
                held => held,
            },
            Which::Before(at) => {
                let own = self.find(at)?;
                let begin = self.held.get(own).map_or(at, |f| f.at);
                self.find(Pts(begin.0.saturating_sub(1)))?
            }
        };
        let frame = self.held.get(place).ok_or_else(|| self.no_frame())?;
        let next = self.held.get(place + 1).or(self.next.as_ref()).map(|f| f.at);
        Ok(Shown {
            at: frame.at,
            next,
            jpeg: self.encoder.jpeg(&frame.sample)?,
        })
    }

    /// Where the frame is held that is shown at a moment.
    fn find(&mut self, at: Pts) -> Result<usize> {
        let at = at.max(self.first);
        let far = self.next.as_ref().is_some_and(|n| at.0 > n.at.0.saturating_add(NEAR_NS));
        if far || self.held.front().is_none_or(|f| at < f.at) {
            self.seek(at)?;
        }
        while self.next.as_ref().is_some_and(|n| n.at <= at) {
            self.advance()?;
        }
        let after = self.held.partition_point(|f| f.at <= at);
        after.checked_sub(1).ok_or_else(|| self.no_frame())
    }

    fn seek(&mut self, at: Pts) -> Result<()> {
        let mut back = 0;
        loop {
            let target = Pts(at.0.saturating_sub(back));
            self.source.seek(target)?;
            self.held.clear();
            self.next = self.pull()?;
            if self.next.as_ref().is_some_and(|f| f.at <= at) {
                return self.advance();
            }
            if target.0 == 0 {
                return Err(self.no_frame());
            }
            back = if back == 0 { BACK_NS } else { back * 4 };
        }
    }

    /// Goes on by one frame.
    fn advance(&mut self) -> Result<()> {
        let Some(frame) = self.next.take() else { return Ok(()) };
        self.held.push_back(frame);
        while self.held.len() > 1 && self.held.iter().map(|f| f.bytes).sum::<usize>() > HELD_BYTES {
            self.held.pop_front();
        }
        self.next = self.pull()?;
        Ok(())
    }

    fn pull(&self) -> Result<Option<Frame>> {
        let Some(sample) = self.source.next()? else { return Ok(None) };
        let buffer = sample.buffer().context("a sample without a frame")?;
        let at = self.source.time_of(&sample, buffer).pts;
        // A copy: decoders have few buffers, and wait for those that are held.
        let mut copy = buffer.copy_deep().map_err(|_| anyhow!("a frame cannot be copied"))?;
        let bytes = copy.size();
        // One picture after another, as far as the encoder is concerned.
        copy.make_mut().set_pts(gst::ClockTime::ZERO);
        let caps = sample.caps().context("a frame without a format")?;
        let sample = gst::Sample::builder().buffer(&copy).caps(&caps.to_owned()).build();
        Ok(Some(Frame { at, sample, bytes }))
    }

    fn no_frame(&self) -> anyhow::Error {
        refuse(
            &self.film,
            "no frame can be decoded there",
            "copy it into another container (`ffmpeg -i IN -c copy OUT.mkv`)",
        )
    }
}

/// Makes JPEG pictures of decoded frames, one by one.
#[derive(Debug)]
struct Encoder {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    sink: gst_app::AppSink,
}

impl Encoder {
    fn start() -> Result<Self> {
        let description = format!(
            "appsrc name=frames format=time max-buffers=1 ! videoscale ! video/x-raw,width=[1,{WIDEST}],pixel-aspect-ratio=1/1 \
             ! videoconvert ! jpegenc quality=88 ! appsink name=jpeg sync=false"
        );
        let pipeline = gst::parse::launch(&description)
            .context("GStreamer cannot make the page's encoder; run `nullface doctor`")?
            .downcast::<gst::Pipeline>()
            .map_err(|_| anyhow!("the page's encoder is no pipeline"))?;
        let named = |name| pipeline.by_name(name).context("the page's encoder lacks a part");
        let source = named("frames")?.downcast().map_err(|_| anyhow!("no source of frames"))?;
        let sink = named("jpeg")?.downcast().map_err(|_| anyhow!("no sink of pictures"))?;
        pipeline
            .set_state(gst::State::Playing)
            .context("the page's encoder does not start")?;
        Ok(Self { pipeline, source, sink })
    }

    fn jpeg(&self, sample: &gst::Sample) -> Result<Vec<u8>> {
        self.source.push_sample(sample).context("a frame cannot be encoded")?;
        let made = self.sink.try_pull_sample(PATIENCE).context("a frame cannot be encoded")?;
        let buffer = made.buffer().context("a sample without a picture")?;
        let map = buffer.map_readable().map_err(|_| anyhow!("a picture cannot be mapped"))?;
        Ok(map.to_vec())
    }
}

impl Drop for Encoder {
    fn drop(&mut self) {
        // Nothing can be done about a pipeline that does not stop while it is dropped.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
