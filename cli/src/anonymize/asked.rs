//! What the options of `nullface anonymize` ask for, of the library, of the element and of the film.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nullface::Settings;
use nullface::pipeline::{CutList, EngineConfig, OnFailure, Who};
use sha2::{Digest, Sha256};

use super::args::{Alpha, Args};
use super::encoders::Wanted;
use crate::exit::refuse;
use crate::hash::{hex, sha256};

/// How far a cut may reach beyond the film's end: people round up, and containers round.
const BEYOND_END_S: f64 = 1.0;
/// The element's unit of time is the nanosecond.
const NS_PER_MS: u64 = 1_000_000;

/// Whom the command line chooses by the numbers of a track file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Chosen {
    /// Nobody: the file alone says.
    Nobody,
    /// Everybody else is kept.
    Only(Vec<u64>),
    /// These are kept.
    Except(Vec<u64>),
}

/// What a track's number is told by.
const TRACK: &str = "track:";

fn names_track(word: &Path) -> bool {
    word.to_str().is_some_and(|w| w.starts_with(TRACK))
}

impl Args {
    /// How the new picture is made.
    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            encoder: self.encoder,
            quality: self.quality,
            size_limit: self.size_limit,
            drop_alpha: self.alpha == Alpha::Drop,
            repeatable: self.seed.is_some(),
            threads: self.threads,
        }
    }

    /// Whether the track file of a first pass is to be left.
    pub(super) fn leaves_tracks(&self) -> bool {
        self.two_pass || self.tracks.is_some()
    }

    /// Whether frames may be missing from the output.
    pub(crate) fn may_drop(&self) -> bool {
        self.on_failure == OnFailure::Drop
    }

    /// Photos of `--only` and `--except`.
    pub(super) fn photos(&self) -> impl Iterator<Item = &PathBuf> {
        self.only.iter().chain(&self.except).filter(|p| !names_track(p))
    }

    /// The element's word for who is anonymised, where it is not everybody.
    fn who(&self) -> Option<String> {
        let (word, photos) = if self.only.is_empty() {
            ("except", &self.except)
        } else {
            ("only", &self.only)
        };
        let photos = photos.iter().filter(|p| !names_track(p));
        let list: Vec<String> = photos.map(|p| p.to_string_lossy().into_owned()).collect();
        (!list.is_empty()).then(|| format!("{word}:{}", list.join(",")))
    }

    /// Who is anonymised, without the photos' names: they may name people.
    pub(super) fn who_word(&self) -> &'static str {
        match (self.only.is_empty(), self.except.is_empty()) {
            (true, true) => "all",
            (false, _) => "only",
            (true, false) => "except",
        }
    }

    /// Single tracks that are chosen.
    ///
    /// # Errors
    /// Photos beside a track file, track numbers without one, what is no number.
    pub(super) fn chosen(&self) -> anyhow::Result<Chosen> {
        let mut ids = Vec::new();
        for word in self.only.iter().chain(&self.except) {
            let number = word.to_str().and_then(|w| w.strip_prefix(TRACK));
            match (number, &self.from_tracks) {
                (None, None) => {}
                (Some(number), Some(_)) => ids.push(number.parse().map_err(|_| {
                    let remedy = "give track:NUMBER, see `nullface tracks show` for the numbers";
                    refuse(word, "it is no number of a track", remedy)
                })?),
                (Some(_), None) => {
                    let remedy = "make one with --two-pass and give it as --from-tracks";
                    return Err(refuse(word, "tracks have numbers only in a track file", remedy));
                }
                (None, Some(_)) => {
                    let remedy = "give the photo without --from-tracks, or track:NUMBER with it";
                    return Err(refuse(word, "a track file says nothing about photos", remedy));
                }
            }
        }
        Ok(match (ids.is_empty(), self.only.is_empty()) {
            (true, _) => Chosen::Nobody,
            (false, true) => Chosen::Except(ids),
            (false, false) => Chosen::Only(ids),
        })
    }

    /// What a first pass is opened with.
    pub(super) fn engine(&self) -> anyhow::Result<(EngineConfig, Settings)> {
        let config = EngineConfig {
            models_dir: self.models_dir.clone(),
            detector: self.detector,
            device: self.device,
            threads: self.threads as usize,
            lookahead: self.lookahead as usize,
            ..EngineConfig::default()
        };
        let settings = Settings {
            threshold: self.threshold,
            min_face_px: self.min_face,
            detect_interval: self.detect_interval,
            mask_scale: self.mask_scale,
            hold: Duration::from_millis(self.hold_time.into()),
            who: self.who().as_deref().map_or(Ok(Who::All), str::parse)?,
            ..Settings::default()
        };
        Ok((config, settings))
    }

    /// The element's properties where the film is rendered from a track file, or at once.
    pub(super) fn rendering(&self, tracks: Option<&Path>) -> Vec<(&'static str, String)> {
        let mut list = self.properties();
        if let Some(tracks) = tracks {
            // The file knows who and what was before: frames are held back only so that the next is prepared meanwhile.
            list.retain(|(name, _)| !["who", "lookahead"].contains(name));
            list.push(("lookahead", "1".to_owned()));
            list.push(("tracks", tracks.to_string_lossy().into_owned()));
        }
        list
    }

    /// Checks what would otherwise be found out while the film runs.
    ///
    /// # Errors
    /// One sentence that names file, cause and remedy.
    pub(crate) fn check(&self, length: Option<gst::ClockTime>) -> anyhow::Result<()> {
        self.chosen()?;
        for photo in self.photos() {
            if photo.to_string_lossy().contains(',') {
                return Err(refuse(
                    photo,
                    "its name holds a comma",
                    "rename it, or give the folder that it is in",
                ));
            }
            if !photo.exists() {
                return Err(refuse(photo, "there is no such photo", "check the path"));
            }
        }
        let Some(path) = &self.cut_list else { return Ok(()) };
        let remedy = "correct the cut list, or leave --cut-list out";
        let cuts = CutList::read(path).map_err(|e| refuse(path, e.to_string(), remedy))?;
        match length {
            Some(length) if cuts.end_s() > length.seconds_f64() + BEYOND_END_S => Err(refuse(
                path,
                format!(
                    "it reaches to {} s, and the film ends at {:.1} s",
                    cuts.end_s(),
                    length.seconds_f64()
                ),
                remedy,
            )),
            _ => Ok(()),
        }
    }

    /// What the result depends on beside the film, hashed: options, photos, cut list, version. That a
    /// seed was given is in it, the seed is not.
    pub(crate) fn fingerprint(&self) -> anyhow::Result<String> {
        let mut words = vec![
            env!("CARGO_PKG_VERSION").to_owned(),
            format!("{:?} {:?} {:?}", self.wanted().result(), self.interlaced, self.subtitles),
            format!("{} {:?} {}", self.keep_metadata, self.label, self.no_marking),
            self.seed.is_some().to_string(),
            format!("{} {} {:?}", self.one_pass, self.leaves_tracks(), self.chosen()?),
        ];
        words.extend(
            self.properties()
                .into_iter()
                .filter(|(name, _)| !["seed", "threads"].contains(name))
                .map(|(n, v)| format!("{n}={v}")),
        );
        let mut files: Vec<PathBuf> = self.cut_list.clone().into_iter().collect();
        files.extend(self.from_tracks.clone());
        for path in self.photos() {
            match std::fs::read_dir(path) {
                Ok(entries) => files.extend(entries.flatten().map(|e| e.path())),
                Err(_) => files.push(path.clone()),
            }
        }
        files.sort();
        for path in files.iter().filter(|p| p.is_file()) {
            words.push(sha256(path)?);
        }
        Ok(hex(&Sha256::digest(words.join("\n"))))
    }

    /// The element's properties, as words. The seed is among them and must not be printed.
    pub(crate) fn properties(&self) -> Vec<(&'static str, String)> {
        let mut list = vec![
            ("mode", self.mode.to_string()),
            ("device", self.device.to_string()),
            ("detector", self.detector.to_string()),
            ("threshold", self.threshold.to_string()),
            ("min-face", self.min_face.to_string()),
            ("detect-interval", self.detect_interval.to_string()),
            ("mask-scale", self.mask_scale.to_string()),
            ("feather", self.feather.to_string()),
            ("hold-time", (u64::from(self.hold_time) * NS_PER_MS).to_string()),
            ("strength", self.strength.to_string()),
            ("solver", self.solver.to_string()),
            ("preset", self.preset.to_string()),
            ("cache", (!self.no_cache).to_string()),
            ("max-fps-per-face", self.max_fps_per_face.to_string()),
            ("precision", self.precision.to_string()),
            ("identity", self.identity.to_string()),
            ("on-failure", self.on_failure.to_string()),
            ("lookahead", self.lookahead.to_string()),
            ("threads", self.threads.to_string()),
        ];
        list.extend(self.verify_threshold.map(|t| ("verify-threshold", t.to_string())));
        list.extend(self.guidance.map(|w| ("guidance", w.to_string())));
        list.extend(self.skip.map(|s| ("skip", s.to_string())));
        list.extend(self.steps.map(|n| ("steps", n.to_string())));
        if self.residual_guidance {
            list.push(("residual-guidance", "yes".to_owned()));
        }
        list.extend(self.rescale.map(|r| ("rescale", r.to_string())));
        list.extend(self.mask_delay.map(|d| ("mask-delay", d.to_string())));
        list.extend(self.attributes.clone().map(|a| ("attributes", a)));
        if !self.keep_regions.is_empty() {
            let words: Vec<&str> = self.keep_regions.iter().map(|r| r.word()).collect();
            list.push(("keep-regions", words.join(",")));
        }
        list.extend(self.who().map(|who| ("who", who)));
        list.extend(self.cut_list.as_ref().map(|c| ("cut-list", c.to_string_lossy().into_owned())));
        list.extend(self.models_dir.as_ref().map(|d| ("models-dir", d.to_string_lossy().into_owned())));
        list.extend(self.model_pack.as_ref().map(|d| ("model-pack", d.to_string_lossy().into_owned())));
        list.extend(self.seed.map(|s| ("seed", s.to_string())));
        list
    }
}
