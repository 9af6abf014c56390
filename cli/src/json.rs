//! GStreamer structures as JSON, for the report: whatever the element says about a frame or counts
//! is passed on as it is, so that a field added there needs no change here. Values of unknown types
//! are written as GStreamer prints them.

use gst::glib;
use gst::prelude::*;
use serde_json::{Map, Value};

/// All fields of a structure, without its name.
pub(crate) fn structure(s: &gst::StructureRef) -> Map<String, Value> {
    s.iter().map(|(name, v)| (name.to_string(), value(v))).collect()
}

/// One value. Numbers that JSON has no word for (NaN, infinite) become null.
pub(crate) fn value(v: &glib::SendValue) -> Value {
    plain(v)
}

fn plain(v: &glib::Value) -> Value {
    if let Ok(x) = v.get::<bool>() {
        return x.into();
    }
    if let Ok(x) = v.get::<i32>() {
        return x.into();
    }
    if let Ok(x) = v.get::<u32>() {
        return x.into();
    }
    if let Ok(x) = v.get::<i64>() {
        return x.into();
    }
    if let Ok(x) = v.get::<u64>() {
        return x.into();
    }
    if let Ok(x) = v.get::<f64>() {
        return x.into();
    }
    if let Ok(x) = v.get::<f32>() {
        // Through text: 0.1f32 shall read 0.1 and not 0.10000000149011612.
        return x.to_string().parse::<f64>().map_or(Value::Null, Value::from);
    }
    if let Ok(x) = v.get::<Option<String>>() {
        return x.map_or(Value::Null, Value::from);
    }
    if let Ok(x) = v.get::<gst::Structure>() {
        return Value::Object(structure(&x));
    }
    if let Ok(x) = v.get::<gst::Array>() {
        return x.iter().map(value).collect();
    }
    if let Ok(x) = v.get::<gst::List>() {
        return x.iter().map(value).collect();
    }
    v.serialize().map_or(Value::Null, |s| s.as_str().into())
}

#[cfg(test)]
mod tests {
    use super::structure;
    use serde_json::{Value, json};

    #[test]
    fn every_kind_of_field_arrives() {
        gst::init().expect("GStreamer starts");
        let inner = gst::Structure::builder("face").field("track", 3u64).field("cos", 0.25f32).build();
        let s = gst::Structure::builder("nullface")
            .field("pts", 40u64)
            .field("detected", true)
            .field("reason", "held")
            .field("nothing", f64::NAN)
            .field("faces", gst::Array::new([inner]))
            .build();
        let expected = json!({"pts": 40, "detected": true, "reason": "held", "nothing": null, "faces": [{"track": 3, "cos": 0.25}]});
        assert_eq!(Value::Object(structure(&s)), expected);
    }
}
