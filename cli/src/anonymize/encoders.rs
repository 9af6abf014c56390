//! Which encoder makes the new picture, and how good it is. The choice follows what the film is:
//! an encoder that would lose depth, light or transparency is refused, never used in silence.
//!
//! | film | auto, `.mp4` `.mov` `.mkv` | auto, `.webm` |
//! |---|---|---|
//! | 8 bits | H.264 (x264) | VP9 |
//! | more bits, HDR | H.265 Main 10 (x265), which carries the mastering data too | VP9 profile 2 |
//! | transparent | ProRes 4444 in `.mov`, FFV1 in `.mkv`, refused in `.mp4` | refused |
//!
//! Quality is constant (CRF), bounded by the source's own rate times `--size-limit`.

use std::path::Path;

use anyhow::Result;
use clap::ValueEnum;
use gst::prelude::*;

use super::headers;
use super::links::make;
use crate::container::Container;
use crate::exit::refuse;
use crate::film::Film;

/// Quality at and below which differences to the source are not seen (CRF).
const X264_QUALITY: u32 = 18;
/// Frames that x264 looks ahead.
const X264_LOOKAHEAD: i32 = 5;
/// About as good.
const X265_QUALITY: u32 = 20;
/// VP9's and AV1's quality level, about as good.
const VPX_QUALITY: i32 = 16;
/// Constant quantiser of NVIDIA's encoders, about as good.
const NVENC_QUALITY: u32 = 19;
/// Upper bound of a rate that has to be given, bits per pixel: far above what the quality asks for.
const BITS_PER_PIXEL: f64 = 0.4;
/// Rate taken for that bound where the film states none.
const ASSUMED_FPS: f64 = 30.0;
/// Share of the size limit that the rate control is given: it overshoots, and containers cost.
const OF_LIMIT: f64 = 0.85;
/// Longest time over which the rate may be above its bound, ms.
const BUFFER_MS: f64 = 2000.0;
/// That time for short films, as a share of their length.
const BUFFER_SHARE: f64 = 0.125;

/// Video encoders that can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum EncoderChoice {
    /// What fits film and container.
    #[default]
    Auto,
    /// H.264 by x264.
    X264,
    /// H.265 by x265.
    X265,
    /// VP9 by libvpx.
    Vp9,
    /// AV1 by libaom or SVT-AV1.
    Av1,
    /// H.264 on an NVIDIA GPU.
    Nvenc,
    /// H.265 on an NVIDIA GPU.
    NvencH265,
    /// ProRes 422 HQ or 4444: for editing, large.
    Prores,
    /// FFV1: lossless, large.
    Ffv1,
}

/// How large and how good.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// Encoder.
    pub(super) encoder: EncoderChoice,
    /// Constant quality; the encoder's own where `None`.
    pub(super) quality: Option<u32>,
    /// Largest size as a multiple of the source's; 0 = no bound.
    pub(super) size_limit: f32,
    /// Whether transparency may be dropped.
    pub(super) drop_alpha: bool,
    /// Whether two runs must give the same bytes.
    pub(super) repeatable: bool,
    /// Threads; 0 = one a core.
    pub(super) threads: u32,
}

impl Wanted {
    /// What of it is seen in the result.
    pub(super) fn result(self) -> Self {
        Self { threads: 0, ..self }
    }
}

/// The end of the picture's way: what is fed to the filter, and encoded after it.
#[derive(Debug)]
pub(super) struct Coding {
    /// Formats for the filter, as caps; `None` where any will do.
    pub(super) working: Option<gst::Caps>,
    /// Elements after the filter.
    pub(super) chain: Vec<gst::Element>,
}

impl EncoderChoice {
    fn word(self) -> String {
        self.to_possible_value().map(|v| v.get_name().to_owned()).unwrap_or_default()
    }

    /// GStreamer's elements for it, best first.
    const fn elements(self) -> &'static [&'static str] {
        match self {
            Self::Auto => &[],
            Self::X264 => &["x264enc"],
            Self::X265 => &["x265enc"],
            Self::Vp9 => &["vp9enc"],
            Self::Av1 => &["svtav1enc", "av1enc"],
            Self::Nvenc => &["nvh264enc"],
            Self::NvencH265 => &["nvh265enc"],
            Self::Prores => &["avenc_prores_ks"],
            Self::Ffv1 => &["avenc_ffv1"],
        }
    }

    const fn fits(self, container: Container) -> bool {
        match self {
            Self::Auto => true,
            Self::X264 | Self::X265 | Self::Nvenc | Self::NvencH265 => !matches!(container, Container::Webm),
            Self::Vp9 | Self::Av1 => !matches!(container, Container::Mov),
            Self::Prores => matches!(container, Container::Mov | Container::Mkv),
            Self::Ffv1 => matches!(container, Container::Mkv),
        }
    }
}

/// Chooses and makes the encoder.
///
/// # Errors
/// The film would lose depth, light or transparency, the container does not take the encoder, or
/// GStreamer does not have it.
pub(super) fn coding(film: &Film, output: &Path, container: Container, wanted: Wanted) -> Result<Coding> {
    let raw = film.raw.as_ref();
    let alpha = raw.is_some_and(|r| r.alpha) && !wanted.drop_alpha;
    let deep = raw.is_some_and(|r| r.depth_bits > 8 || r.hdr.is_some()) && !alpha;
    let choice = match wanted.encoder {
        EncoderChoice::Auto => auto(film, output, container, alpha, deep)?,
        asked => asked,
    };
    if !choice.fits(container) {
        return Err(refuse(
            output,
            format!("its container does not take what the encoder {} makes", choice.word()),
            "end the output's name in another of .mp4, .mov, .mkv, .webm, or leave --encoder out",
        ));
    }
    if alpha && !matches!(choice, EncoderChoice::Prores | EncoderChoice::Ffv1) {
        return Err(refuse(output, "the film is transparent, which this encoder cannot keep", ALPHA));
    }
    let Some(factory) = choice.elements().iter().copied().find(|n| gst::ElementFactory::find(n).is_some()) else {
        return Err(refuse(
            Path::new(choice.elements().first().copied().unwrap_or_default()),
            "GStreamer does not have this encoder",
            "leave --encoder out, or run `nullface doctor`, which names the package",
        ));
    };
    let encoder = tuned(choice, factory, film, wanted)?;
    let format = if alpha {
        if choice == EncoderChoice::Ffv1 { "BGRA" } else { "A444_10LE" }
    } else if choice == EncoderChoice::Prores {
        "I422_10LE"
    } else if deep {
        "I420_10LE,P010_10LE"
    } else {
        "I420,NV12"
    };
    let formats: Vec<&str> = format.split(',').filter(|f| takes(&encoder, f)).collect();
    if formats.is_empty() {
        let what = raw.and_then(|r| r.hdr).map_or_else(
            || "the film has more than 8 bits a sample".to_owned(),
            |light| format!("the film is HDR ({light})"),
        );
        return Err(refuse(
            output,
            format!("{what}, and the encoder {} has 8 bits here, which would wash it out", choice.word()),
            "give --encoder x265, x264 or vp9, or convert the film to 8 bits first",
        ));
    }
    let before = alpha
        .then_some(["RGBA", "BGRA"].as_slice())
        .or(deep.then_some(["I420_10LE", "P010_10LE"].as_slice()));
    let colorimetry = raw.filter(|r| r.hdr.is_some()).map(|r| r.colorimetry.clone());
    let caps = |formats: &[&str]| {
        let mut caps = gst::Caps::builder("video/x-raw").field("format", gst::List::new(formats.iter().copied()));
        if let Some(colorimetry) = &colorimetry {
            caps = caps.field("colorimetry", colorimetry.as_str());
        }
        caps.build()
    };
    let filter = make("capsfilter", "layout")?;
    filter.set_property("caps", caps(&formats));
    pass_colours(&filter, &encoder);
    if choice == EncoderChoice::X265 {
        headers::without_scraps(&encoder);
    }
    let mut chain = vec![make("videoconvert", "format")?, filter];
    if choice == EncoderChoice::Vp9 && colorimetry.is_some() {
        // VP9's own header knows the matrix alone, and this encoder no matrix of HDR: it writes the one that it is told.
        let label = make("capssetter", "matrix")?;
        label.set_property("caps", gst::Caps::builder("video/x-raw").field("colorimetry", "bt2020").build());
        chain.push(label);
    }
    chain.push(encoder);
    // Muxers want these cut into the packets of the container's standard.
    match choice {
        EncoderChoice::X265 | EncoderChoice::NvencH265 => chain.push(make("h265parse", "packets")?),
        EncoderChoice::Av1 => chain.push(make("av1parse", "packets")?),
        _ => {}
    }
    Ok(Coding {
        working: before.map(caps),
        chain,
    })
}

/// What caps say of light and colour.
const COLOURS: [&str; 3] = ["colorimetry", "mastering-display-info", "content-light-level"];

/// Tells the muxer what the pictures are that come out of `before`: some encoders forget it, and containers have a
/// place for it.
fn pass_colours(before: &gst::Element, encoder: &gst::Element) {
    let (Some(fed), Some(out)) = (before.static_pad("src"), encoder.static_pad("src")) else {
        return;
    };
    let fed = fed.downgrade();
    out.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let told = match info.event().map(|event| event.view()) {
            Some(gst::EventView::Caps(caps)) => caps.caps_owned(),
            _ => return gst::PadProbeReturn::Ok,
        };
        let Some(is) = fed.upgrade().and_then(|pad| pad.current_caps()) else {
            return gst::PadProbeReturn::Ok;
        };
        let mut caps = told.clone();
        if let (Some(is), Some(coded)) = (is.structure(0), caps.make_mut().structure_mut(0)) {
            for field in COLOURS {
                if let Ok(value) = is.value(field) {
                    coded.set_value(field, value.clone());
                }
            }
        }
        if caps != told {
            info.data = Some(gst::PadProbeData::Event(gst::event::Caps::new(&caps)));
        }
        gst::PadProbeReturn::Ok
    });
}

/// Remedy for films that are transparent.
const ALPHA: &str = "end the output's name in .mov (ProRes 4444) or .mkv (FFV1), or give --alpha drop";

fn auto(film: &Film, output: &Path, container: Container, alpha: bool, deep: bool) -> Result<EncoderChoice> {
    let has = |choice: EncoderChoice| choice.elements().iter().any(|n| gst::ElementFactory::find(n).is_some());
    Ok(match container {
        Container::Mov if alpha => EncoderChoice::Prores,
        Container::Mkv if alpha => EncoderChoice::Ffv1,
        Container::Mp4 | Container::Webm if alpha => {
            return Err(refuse(
                &film.path,
                format!("it is transparent, which {} cannot keep", output.display()),
                ALPHA,
            ));
        }
        Container::Webm => EncoderChoice::Vp9,
        _ if deep && has(EncoderChoice::X265) => EncoderChoice::X265,
        _ => EncoderChoice::X264,
    })
}

fn takes(encoder: &gst::Element, format: &str) -> bool {
    let caps = gst::Caps::builder("video/x-raw").field("format", format).build();
    encoder
        .static_pad("sink")
        .is_some_and(|pad| pad.pad_template_caps().can_intersect(&caps))
}

/// Bound of the rate, kbit/s, and the time over which it holds, ms.
fn bound(film: &Film, wanted: Wanted) -> Option<(u32, u32)> {
    let source = film.picture_bits_per_s.filter(|_| wanted.size_limit > 0.0)? as f64;
    let length_ms = film.duration.map_or(f64::INFINITY, |d| d.seconds_f64() * 1e3);
    let kbit = source * f64::from(wanted.size_limit) * OF_LIMIT / 1e3;
    Some((
        kbit.clamp(16.0, 500_000.0) as u32,
        (length_ms * BUFFER_SHARE).clamp(250.0, BUFFER_MS) as u32,
    ))
}

/// Bound of the rate where one has to be given, kbit/s.
fn generous(film: &Film) -> u32 {
    let fps = if film.rate.numer() > 0 {
        f64::from(film.rate.numer()) / f64::from(film.rate.denom())
    } else {
        ASSUMED_FPS
    };
    let bits = f64::from(film.width_px) * f64::from(film.height_px) * fps * BITS_PER_PIXEL;
    (bits / 1e3).clamp(100.0, 500_000.0) as u32
}

fn tuned(choice: EncoderChoice, factory: &str, film: &Film, wanted: Wanted) -> Result<gst::Element> {
    let encoder = make(factory, "encoder")?;
    let bounded = bound(film, wanted);
    let rate = bounded.map_or_else(|| generous(film), |(kbit, _)| kbit);
    let threads = match wanted.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        asked => asked as usize,
    };
    let threads = i32::try_from(threads).unwrap_or(1);
    match choice {
        EncoderChoice::X264 => {
            encoder.set_property_from_str("pass", "qual");
            encoder.set_property("quantizer", wanted.quality.unwrap_or(X264_QUALITY).min(50));
            encoder.set_property_from_str("speed-preset", "veryfast");
            // Frames in the order in which they are shown: no edit list, and times that every player reads alike.
            encoder.set_property("bframes", 0u32);
            // Frames that it holds to plan ahead are memory: half of its default and no thread of their own save a
            // seventh of the encoder's peak, and the file is no larger (2.53 against 2.56 MB for one of 297 frames).
            encoder.set_property("rc-lookahead", X264_LOOKAHEAD);
            encoder.set_property("sync-lookahead", 0i32);
            encoder.set_property("sliced-threads", true);
            // Under a bound, slices share out what is left by which of them is done first. One thread asks nobody.
            encoder.set_property("threads", if wanted.repeatable { 1 } else { wanted.threads });
            // In this mode the element's `bitrate` is the bound; its own default would starve anything large.
            encoder.set_property("bitrate", bounded.map_or(2_000_000, |(kbit, _)| kbit));
            encoder.set_property("vbv-buf-capacity", bounded.map_or(10_000, |(_, ms)| ms));
        }
        EncoderChoice::X265 => {
            let crf = wanted.quality.unwrap_or(X265_QUALITY).min(51);
            let mut options = format!("crf={crf}:bframes=0:repeat-headers=1:log-level=none:const-vbv=1");
            if let Some((kbit, ms)) = bounded {
                options += &format!(
                    ":vbv-maxrate={kbit}:vbv-bufsize={}",
                    (u64::from(kbit) * u64::from(ms) / 1000).max(1)
                );
            }
            if wanted.threads != 0 {
                options += &format!(":pools={threads}");
            }
            encoder.set_property_from_str("speed-preset", "veryfast");
            encoder.set_property("option-string", options);
        }
        EncoderChoice::Vp9 => {
            encoder.set_property("deadline", 1i64);
            encoder.set_property("cpu-used", 8i32);
            encoder.set_property("row-mt", true);
            encoder.set_property("threads", threads);
            encoder.set_property_from_str("end-usage", "cq");
            encoder.set_property("cq-level", wanted.quality.map_or(VPX_QUALITY, |q| q.min(63) as i32));
            encoder.set_property("target-bitrate", i32::try_from(rate.saturating_mul(1000)).unwrap_or(i32::MAX));
        }
        EncoderChoice::Av1 if factory == "av1enc" => {
            encoder.set_property("cpu-used", 8i32);
            encoder.set_property_from_str("usage-profile", "realtime");
            encoder.set_property("row-mt", true);
            encoder.set_property("threads", threads as u32);
            encoder.set_property_from_str("end-usage", "vbr");
            encoder.set_property("target-bitrate", rate);
        }
        EncoderChoice::Nvenc | EncoderChoice::NvencH265 => {
            offer(&encoder, "rc-mode", "vbr");
            offer(&encoder, "max-bitrate", &rate.to_string());
            offer(&encoder, "const-quality", &wanted.quality.unwrap_or(NVENC_QUALITY).to_string());
            offer(&encoder, "bframes", "0");
        }
        EncoderChoice::Prores => {
            let alpha = film.raw.as_ref().is_some_and(|r| r.alpha) && !wanted.drop_alpha;
            encoder.set_property_from_str("profile", if alpha { "4444" } else { "hq" });
        }
        EncoderChoice::Auto | EncoderChoice::Av1 | EncoderChoice::Ffv1 => {}
    }
    Ok(encoder)
}

/// Sets what an encoder of this version has; NVIDIA's differ from release to release.
fn offer(encoder: &gst::Element, property: &str, value: &str) {
    if encoder.find_property(property).is_some() {
        encoder.set_property_from_str(property, value);
    }
}
