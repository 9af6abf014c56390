//! `audit-location`: the trail of what was done to every face, written while the stream runs.
//!
//! The header is written at start, the footer at stop; a trail without one is of a run that did not end.
//! Every record is on its way to the disk when it is made: a live stream runs for long, and a process that
//! is killed should leave what it knew.
//! A trail that was asked for and cannot be written ends the stream: it may be the only proof there is.

use std::fs::File;
use std::io::{LineWriter, Write};
use std::path::Path;
use std::sync::Mutex;

use nullface::audit::{Header, Trail};
use nullface::pipeline::{EngineConfig, EngineError, Settings};

use super::fail_closed::{Settled, Verdict, start_error};
use super::worker::lock;

/// The element's trail, where one was asked for.
#[derive(Debug, Default)]
pub(super) struct Audit(Mutex<Option<Trail<LineWriter<File>>>>);

impl Audit {
    /// Begins a trail, or none.
    ///
    /// # Errors
    /// The file cannot be made, or what the header names is missing.
    pub(super) fn start(&self, location: Option<&Path>, config: &EngineConfig, settings: &Settings) -> Result<(), gst::ErrorMessage> {
        let mut trail = lock(&self.0);
        *trail = None;
        let Some(path) = location else { return Ok(()) };
        let header = Header::gather(config, settings).map_err(|e| start_error(&EngineError::Backend(e)))?;
        let unwritable = |e: std::io::Error| {
            let path = path.display();
            gst::error_msg!(
                gst::ResourceError::OpenWrite,
                ("audit-location {path}: {e}; name a file in a folder that may be written to")
            )
        };
        let file = LineWriter::new(File::create(path).map_err(unwritable)?);
        *trail = Some(Trail::begin(file, &header.record()).map_err(unwritable)?);
        Ok(())
    }

    /// Tells of a frame; times in seconds of running time.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn frame(&self, settled: &Settled, at_s: f64, duration_s: f64) -> std::io::Result<()> {
        let mut trail = lock(&self.0);
        let Some(trail) = trail.as_mut() else { return Ok(()) };
        if matches!(settled.verdict, Verdict::Drop) && settled.withheld.is_none() {
            // Given up in a flush: it never leaves.
            return Ok(());
        }
        trail.frame(
            at_s,
            duration_s,
            settled.report.as_ref(),
            settled.withheld,
            settled.fault.as_deref(),
        )
    }

    /// Writes the footer.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn stop(&self) -> std::io::Result<()> {
        match lock(&self.0).take() {
            Some(trail) => trail.finish(serde_json::Map::new()).and_then(|(mut file, _)| file.flush()),
            None => Ok(()),
        }
    }
}
