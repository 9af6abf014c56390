//! Bounds and agreement of a manifest, before anything is allocated or opened by it.

use super::error::{PackError, field};
use super::manifest::{AttributeSpec, Dim, FileSpec, Interface, LatentKind, Manifest, TensorSpec};
use crate::stages::denoise::{MAX_STEPS, Schedule};

/// Largest crop side, px.
pub const MAX_CROP_PX: u32 = 2048;
/// Most latent channels.
pub const MAX_CHANNELS: u32 = 256;
/// Longest vector (identity, attributes).
pub const MAX_VECTOR: u32 = 8192;
/// Most text values of a row (154 tokens of 2048).
pub const MAX_TEXT: u32 = 154 * 2048;
/// Most files.
pub const MAX_FILES: usize = 256;
/// Most words in the vocabulary.
pub const MAX_WORDS: usize = 1024;
/// Longest name, bytes.
pub const MAX_NAME: usize = 4096;
/// Largest file, bytes.
pub const MAX_FILE_BYTES: u64 = 16 << 30;

/// Checks everything that can be known without reading the files.
pub(super) fn check(m: &Manifest) -> Result<Schedule, PackError> {
    field("format", m.format == 1, 1, m.format)?;
    for (name, text) in [
        ("name", &m.name),
        ("version", &m.version),
        ("licence", &m.licence),
        ("trained_on", &m.trained_on),
        ("intended_use", &m.intended_use),
        ("limits", &m.limits),
    ] {
        field(
            name,
            !text.trim().is_empty() && text.len() <= MAX_NAME,
            format!("1 to {MAX_NAME} bytes of text"),
            format!("{} bytes", text.len()),
        )?;
    }
    crop_and_latent(m)?;
    let schedule = Schedule::new(m.schedule).map_err(|e| PackError::Field {
        field: format!("schedule.{}", e.field),
        expected: e.expected,
        got: e.got.to_string(),
    })?;
    field(
        "identity.dimension",
        (2..=MAX_VECTOR).contains(&m.identity.dimension),
        format!("2 to {MAX_VECTOR}"),
        m.identity.dimension,
    )?;
    if let Some(cos) = m.identity.same_person_cos {
        field("identity.same_person_cos", (-1.0..=1.0).contains(&cos), "−1 to 1", cos)?;
    }
    files(m)?;
    attributes(m)?;
    denoiser(m)?;
    if let Some(vae) = &m.identity_vae {
        field(
            "identity_vae.latent",
            (2..=MAX_VECTOR).contains(&vae.latent),
            format!("2 to {MAX_VECTOR}"),
            vae.latent,
        )?;
        named(m, "identity_vae.encoder", &vae.encoder)?;
        named(m, "identity_vae.decoder", &vae.decoder)?;
        for (name, file) in [("identity_vae.non_identity", &vae.non_identity), ("identity_vae.gate", &vae.gate)] {
            if let Some(file) = file {
                named(m, name, file)?;
            }
        }
    }
    if let Some(basis) = &m.basis {
        named(m, "basis.manifest", &basis.manifest)?;
        for name in &basis.files {
            named(m, "basis.files", name)?;
        }
    }
    for (mode, settings) in &m.defaults {
        let name = |inner: &str| format!("defaults.{}.{inner}", format!("{mode:?}").to_lowercase());
        field(
            name("steps"),
            (1..=MAX_STEPS).contains(&settings.steps),
            format!("1 to {MAX_STEPS}"),
            settings.steps,
        )?;
        let refused = |e: crate::stages::denoise::PlanError| PackError::Field {
            field: name(e.field),
            expected: e.expected,
            got: e.got,
        };
        settings.check().map_err(refused)?;
        settings.plan(&schedule).map_err(refused)?;
        field(
            name("from_prior"),
            !settings.from_prior || m.basis.is_some(),
            "false in a pack without basis",
            settings.from_prior,
        )?;
    }
    Ok(schedule)
}

fn crop_and_latent(m: &Manifest) -> Result<(), PackError> {
    let (size, latent) = (m.crop.size_px, &m.latent);
    field(
        "crop.size_px",
        (32..=MAX_CROP_PX).contains(&size),
        format!("32 to {MAX_CROP_PX}"),
        size,
    )?;
    field("crop.margin", (0.0..=1.0).contains(&m.crop.margin), "0 to 1", m.crop.margin)?;
    field(
        "latent.factor",
        (1..=64).contains(&latent.factor) && size % latent.factor == 0,
        format!("1 to 64, a divisor of {size}"),
        latent.factor,
    )?;
    field(
        "latent.channels",
        (1..=MAX_CHANNELS).contains(&latent.channels),
        format!("1 to {MAX_CHANNELS}"),
        latent.channels,
    )?;
    field(
        "latent.scale",
        latent.scale.is_finite() && latent.scale != 0.0,
        "finite, not 0",
        latent.scale,
    )?;
    field("latent.shift", latent.shift.is_finite(), "finite", latent.shift)?;
    match latent.kind {
        LatentKind::SpaceToDepth => {
            let channels = 3 * latent.factor * latent.factor;
            field(
                "latent.channels",
                latent.channels == channels,
                format!("{channels} with space-to-depth({})", latent.factor),
                latent.channels,
            )?;
            field(
                "latent.encoder",
                latent.encoder.is_none() && latent.decoder.is_none(),
                "no encoder or decoder with space-to-depth",
                "one",
            )
        }
        LatentKind::Autoencoder => {
            named(m, "latent.encoder", latent.encoder.as_deref().unwrap_or_default())?;
            named(m, "latent.decoder", latent.decoder.as_deref().unwrap_or_default())?;
            Ok(())
        }
    }
}

fn named<'a>(m: &'a Manifest, name: &str, file: &str) -> Result<&'a FileSpec, PackError> {
    m.files.get(file).ok_or_else(|| PackError::Field {
        field: name.to_owned(),
        expected: "the name of an entry of files".into(),
        got: format!("`{file}`"),
    })
}

fn files(m: &Manifest) -> Result<(), PackError> {
    field(
        "files",
        (1..=MAX_FILES).contains(&m.files.len()),
        format!("1 to {MAX_FILES} entries"),
        m.files.len(),
    )?;
    for (name, file) in &m.files {
        let path = std::path::Path::new(&file.path);
        let inside =
            !file.path.is_empty() && file.path.len() <= MAX_NAME && path.components().all(|c| matches!(c, std::path::Component::Normal(_)));
        field(
            format!("files.{name}.path"),
            inside,
            "a relative path inside the pack",
            format!("`{}`", file.path),
        )?;
        let hex = file.sha256.len() == 64 && file.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        field(
            format!("files.{name}.sha256"),
            hex,
            "64 lower-case hexadecimal digits",
            format!("`{:.80}`", file.sha256),
        )?;
        if let Some(bytes) = file.bytes {
            field(
                format!("files.{name}.bytes"),
                bytes <= MAX_FILE_BYTES,
                format!("at most {MAX_FILE_BYTES}"),
                bytes,
            )?;
        }
        if let Some(data) = &file.data {
            let at = format!("files.{name}.data");
            let other = named(m, &at, data)?;
            field(
                at,
                data != name && other.data.is_none(),
                "another entry, without data of its own",
                format!("`{data}`"),
            )?;
        }
        for (side, tensors) in [("inputs", &file.inputs), ("outputs", &file.outputs)] {
            field(
                format!("files.{name}.{side}"),
                tensors.len() <= 64,
                "at most 64 tensors",
                tensors.len(),
            )?;
            for t in tensors {
                let sound = t.shape.len() <= 8 && t.shape.iter().all(|d| !matches!(d, Dim::Fixed(n) if *n == 0 || *n > 1 << 24));
                field(
                    format!("files.{name}.{side}.{}.shape", t.name),
                    sound,
                    "at most 8 sides of 1 to 2^24",
                    shape_text(&t.shape),
                )?;
            }
        }
    }
    Ok(())
}

fn attributes(m: &Manifest) -> Result<(), PackError> {
    let Some(attributes) = &m.attributes else {
        return field(
            "denoiser.inputs.attributes",
            m.denoiser.inputs.attributes.is_none(),
            "none in a pack without attributes",
            "a name",
        );
    };
    field(
        "attributes.length",
        attributes.length <= MAX_VECTOR,
        format!("at most {MAX_VECTOR}"),
        attributes.length,
    )?;
    field(
        "attributes.vocabulary",
        attributes.vocabulary.len() <= MAX_WORDS,
        format!("at most {MAX_WORDS} words"),
        attributes.vocabulary.len(),
    )?;
    for (word, spec) in &attributes.vocabulary {
        let name = format!("attributes.vocabulary.\"{word}\"");
        field(
            name.as_str(),
            word.split_once('=').is_some_and(|(n, v)| !n.is_empty() && !v.is_empty()),
            "name=value",
            format!("`{word}`"),
        )?;
        match spec {
            AttributeSpec::Index(i) => field(name, *i < attributes.length, format!("below {}", attributes.length), i)?,
            AttributeSpec::Vector(v) => {
                let sound = v.len() == attributes.length as usize && v.iter().all(|x| x.is_finite());
                field(name, sound, format!("{} finite values", attributes.length), v.len())?;
            }
            AttributeSpec::Tokens(file) => {
                field(name.as_str(), m.denoiser.text_len > 0, "no tokens in a pack without text", file)?;
                named(m, &name, file)?;
            }
        }
    }
    Ok(())
}

fn denoiser(m: &Manifest) -> Result<(), PackError> {
    let d = &m.denoiser;
    field("denoiser.files", !d.files.is_empty(), "at least one precision", 0)?;
    field(
        "denoiser.inputs",
        d.inputs.lambda.is_some() != d.inputs.time.is_some(),
        "exactly one of lambda and time",
        "both or none",
    )?;
    field(
        "denoiser.text_len",
        d.text_len <= MAX_TEXT,
        format!("at most {MAX_TEXT}"),
        d.text_len,
    )?;
    match d.interface {
        Interface::Adaln => field(
            "denoiser.inputs.text",
            d.inputs.text.is_none() && d.text_len == 0,
            "no text with adaln",
            d.text_len,
        )?,
        Interface::CrossAttention => {
            field(
                "denoiser.inputs.text",
                d.inputs.text.is_some() && d.text_len > 0,
                "a name, and text_len above 0, with cross-attention",
                d.text_len,
            )?;
            named(m, "denoiser.empty_text", d.empty_text.as_deref().unwrap_or_default())?;
        }
    }
    let side = Some(m.crop.size_px / m.latent.factor);
    let latent = [None, Some(m.latent.channels), side, side];
    let attributes = m.attributes.as_ref().map_or(0, |a| a.length);
    for (precision, name) in &d.files {
        let at = format!("denoiser.files.{}", format!("{precision:?}").to_lowercase());
        let file = named(m, &at, name)?;
        let inputs = [
            (Some(&d.inputs.x), "x", latent.as_slice()),
            (d.inputs.prior.as_ref(), "prior", latent.as_slice()),
            (d.inputs.lambda.as_ref(), "lambda", &[None]),
            (d.inputs.time.as_ref(), "time", &[None]),
            (Some(&d.inputs.identity), "identity", &[None, Some(m.identity.dimension)]),
            (d.inputs.attributes.as_ref(), "attributes", &[None, Some(attributes)]),
        ];
        for (tensor, role, expected) in inputs {
            if let Some(tensor) = tensor {
                shape(&format!("files.{name}.inputs ({role})"), &file.inputs, tensor, expected)?;
            }
        }
        if let Some(tensor) = &d.inputs.identity_mask {
            find(&format!("files.{name}.inputs (identity_mask)"), &file.inputs, tensor)?;
        }
        if let Some(tensor) = &d.inputs.text {
            text_shape(&format!("files.{name}.inputs (text)"), &file.inputs, tensor, d.text_len)?;
        }
        shape(&format!("files.{name}.outputs"), &file.outputs, &d.output, &latent)?;
    }
    Ok(())
}

/// The sides after the batch hold one row of text, however it is divided.
fn text_shape(name: &str, tensors: &[TensorSpec], tensor: &str, text_len: u32) -> Result<(), PackError> {
    let got = find(name, tensors, tensor)?;
    let row = got.shape.iter().skip(1).try_fold(1_u64, |n, d| match d {
        Dim::Fixed(side) => n.checked_mul(u64::from(*side)),
        Dim::Free(_) => None,
    });
    field(
        format!("{name}.{tensor}.shape"),
        got.shape.len() >= 2 && row == Some(u64::from(text_len)),
        format!("a batch of {text_len} values a row"),
        shape_text(&got.shape),
    )
}

fn find<'a>(name: &str, tensors: &'a [TensorSpec], tensor: &str) -> Result<&'a TensorSpec, PackError> {
    tensors.iter().find(|t| t.name == tensor).ok_or_else(|| PackError::Field {
        field: name.to_owned(),
        expected: format!("a tensor `{tensor}`"),
        got: tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", "),
    })
}

/// `None` is the batch: free, or any fixed number.
fn shape(name: &str, tensors: &[TensorSpec], tensor: &str, expected: &[Option<u32>]) -> Result<(), PackError> {
    let got = find(name, tensors, tensor)?;
    let fits = got.shape.len() == expected.len()
        && got.shape.iter().zip(expected).all(|(d, e)| match (d, e) {
            (_, None) => true,
            (Dim::Fixed(n), Some(e)) => n == e,
            (Dim::Free(_), Some(_)) => false,
        });
    let text = expected
        .iter()
        .map(|e| e.map_or("n".to_owned(), |e| e.to_string()))
        .collect::<Vec<_>>()
        .join("×");
    field(format!("{name}.{tensor}.shape"), fits, text, shape_text(&got.shape))
}

pub(super) fn shape_text(shape: &[Dim]) -> String {
    shape.iter().map(Dim::to_string).collect::<Vec<_>>().join("×")
}
