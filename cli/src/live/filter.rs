//! The filter pipeline: `appsrc ! nullfacefilter ! appsink`. The one place where raw pictures become
//! anonymised ones.

use std::sync::Arc;

use anyhow::{Context, Result};
use gst::prelude::*;

use super::args::Args;
use super::hub::{Hub, Running};
use super::source::tap;
use crate::json;
use serde_json::{Map, Value};

/// Raw frames that may wait: one being treated, two behind it; older ones are dropped unseen.
const WAITING: u64 = 2;

/// The filter pipeline.
#[derive(Debug)]
pub(crate) struct FilterLine {
    pub(crate) pipeline: Running,
    faces: gst::Element,
}

impl FilterLine {
    /// Builds it, with the hub that feeds it and is fed by it.
    pub(crate) fn build(args: &Args) -> Result<(Self, Arc<Hub>)> {
        let pipeline = gst::Pipeline::with_name("filter");
        let faces = gst::ElementFactory::make("nullfacefilter").name("faces").build()?;
        for (name, value) in args.properties() {
            set(&faces, &name, &value)?;
        }
        let entrance = gst_app::AppSrc::builder()
            .name("raw")
            .is_live(true)
            .format(gst::Format::Time)
            .leaky_type(gst_app::AppLeakyType::Downstream)
            .max_buffers(WAITING)
            .max_bytes(0)
            .build();
        let exit = gst_app::AppSink::builder()
            .name("anonymous")
            .sync(false)
            .enable_last_sample(false)
            .build();
        pipeline.add_many([entrance.upcast_ref(), &faces, exit.upcast_ref()])?;
        gst::Element::link_many([entrance.upcast_ref(), &faces, exit.upcast_ref()])?;
        let hub = Hub::new(entrance);
        let out = Arc::clone(&hub);
        tap(pipeline.upcast_ref(), "anonymous", move |sample| out.picture_out(sample))?;
        let pipeline = Running(pipeline);
        Ok((Self { pipeline, faces }, hub))
    }

    /// The element's counts.
    pub(crate) fn stats(&self) -> Map<String, Value> {
        self.faces
            .property::<Option<gst::Structure>>("stats")
            .map(|s| json::structure(&s))
            .unwrap_or_default()
    }

    /// Changes a property that may change while it plays.
    pub(crate) fn set(&self, name: &str, value: &str) -> Result<()> {
        set(&self.faces, name, value)
    }
}

/// Sets a property from its word; GLib itself would abort on a wrong one.
fn set(element: &gst::Element, name: &str, value: &str) -> Result<()> {
    let spec = element
        .find_property(name)
        .with_context(|| format!("nullfacefilter has no property {name}; see `gst-inspect-1.0 nullfacefilter`"))?;
    anyhow::ensure!(
        spec.flags().contains(gst::glib::ParamFlags::WRITABLE),
        "property {name} of nullfacefilter can only be read"
    );
    let value = gst::glib::Value::deserialize_with_pspec(value, &spec).map_err(|_| {
        anyhow::anyhow!("property {name} of nullfacefilter: `{value}` is not one of its values; see `gst-inspect-1.0 nullfacefilter`")
    })?;
    element.set_property_from_value(name, &value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::set;

    #[test]
    fn a_wrong_property_is_an_error_and_not_an_abort() {
        gst::init().expect("GStreamer");
        gstnullface::plugin_register_static().expect("plugin");
        let element = gst::ElementFactory::make("nullfacefilter").build().expect("element");
        assert!(set(&element, "threshold", "0.4").is_ok());
        for (name, value) in [("thresold", "1"), ("mode", "mosaic"), ("threshold", "much"), ("stats", "x")] {
            let error = set(&element, name, value).expect_err(name).to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
