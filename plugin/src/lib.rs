//! GStreamer plugin `nullface`: the element `nullfacefilter` takes the identity out of every face in
//! a video stream and lets no frame go that was not treated.
//!
//! Why a plugin: cameras, files, networks and hosts such as OBS are GStreamer's work; this crate only
//! carries frames between it and [`nullface::Engine`]. No mathematics of faces lives here.
//!
//! ```sh
//! gst-launch-1.0 filesrc location=in.mp4 ! decodebin ! videoconvert ! nullfacefilter mode=pixelate \
//!     ! videoconvert ! x264enc ! mp4mux ! filesink location=out.mp4
//! ```
//!
//! Limits: system memory, progressive frames, the formats of [`filter`].

use gst::glib;

pub mod filter;

pub use filter::NullfaceFilter;

fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    filter::register(plugin)
}

/// What the macro makes: the entry point that GStreamer looks for, and static registration.
#[allow(missing_docs, reason = "the macro documents nothing")]
mod entry {
    use super::plugin_init;

    gst::plugin_define!(
        nullface,
        env!("CARGO_PKG_DESCRIPTION"),
        plugin_init,
        concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
        // The word that GStreamer knows for one of our two licences; it refuses a plugin with another.
        "MIT/X11",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_REPOSITORY"),
        env!("BUILD_REL_DATE")
    );
}

pub use entry::plugin_register_static;
