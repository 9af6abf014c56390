//! Packs that are right, and one fault each.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::{Dtype, Pack, PackError, TensorSeen};
use crate::stages::denoise::{DiffusionMode, ModeSettings, Solver};

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

const DENOISER: &[u8] = b"not a network, but 27 bytes";
const BASIS: &[u8] = b"version = 1\n";

fn adaln() -> String {
    format!(
        r#"
format = 1
name = "tiny"
version = "1.0.0"
licence = "MIT"
trained_on = "nothing"
intended_use = "tests"
limits = "knows nothing"
prediction = "x0"

[crop]
template = "arcface-112"
size_px = 128

[latent]
kind = "space-to-depth"
channels = 48
factor = 4

[schedule]
kind = "cosine"
shift = 0.5
lambda_min = -6.0
lambda_max = 6.0

[denoiser]
interface = "adaln"
output = "clean"
files = {{ fp32 = "denoiser" }}
[denoiser.inputs]
x = "x"
lambda = "lam"
identity = "identity"
identity_mask = "identity_mask"
attributes = "attributes"
prior = "prior"

[identity]
recogniser = "mobilefacenet"
preprocessing = "(v - 127.5) / 128, NHWC, RGB"
dimension = 192
null = "zeros-and-mask"
same_person_cos = 0.457

[attributes]
length = 17
[attributes.vocabulary]
"age=20" = 2
"age=70" = 7
"sex=female" = 11
"look=tired" = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.5]

[basis]
manifest = "basis"
files = []

[defaults.ksame]
solver = "sde-dpmpp-2m"
spacing = {{ rule = "lambda", start = -0.5, end = 1.0 }}
steps = 1
guidance = 1.0
identity = "ksame"
residual_guidance = true
from_prior = true

[figures]
anything = {{ people = "want", n = 3 }}

[files.basis]
path = "basis.toml"
sha256 = "{}"

[files.denoiser]
path = "denoiser.onnx"
sha256 = "{}"
bytes = {}
inputs = [
  {{ name = "x", shape = ["n", 48, 32, 32], dtype = "float32" }},
  {{ name = "prior", shape = ["n", 48, 32, 32], dtype = "float32" }},
  {{ name = "lam", shape = ["n"], dtype = "float32" }},
  {{ name = "identity", shape = ["n", 192], dtype = "float32" }},
  {{ name = "identity_mask", shape = ["n", 1], dtype = "float32" }},
  {{ name = "attributes", shape = ["n", 17], dtype = "float32" }},
]
outputs = [{{ name = "clean", shape = ["n", 48, 32, 32], dtype = "float32" }}]
"#,
        hex(BASIS),
        hex(DENOISER),
        DENOISER.len()
    )
}

fn on_disk(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| std::fs::write(folder.path().join(name), bytes).expect("written");
    write("pack.toml", text.as_bytes());
    write("denoiser.onnx", DENOISER);
    write("basis.toml", BASIS);
    folder
}

fn seen(pack: &Pack) -> (Vec<TensorSeen>, Vec<TensorSeen>) {
    let file = &pack.manifest().files["denoiser"];
    let side = |tensors: &[super::TensorSpec]| {
        tensors
            .iter()
            .map(|t| TensorSeen {
                name: t.name.clone(),
                shape: t
                    .shape
                    .iter()
                    .map(|d| if let super::Dim::Fixed(n) = d { i64::from(*n) } else { -1 })
                    .collect(),
                dtype: t.dtype,
            })
            .collect()
    };
    (side(&file.inputs), side(&file.outputs))
}

#[test]
fn a_right_pack_opens_and_says_what_the_engine_needs() {
    let folder = on_disk(&adaln());
    let pack = Pack::open(folder.path()).expect("opens");
    let shape = pack.row_shape();
    assert_eq!(
        (
            shape.channels,
            shape.height,
            shape.width,
            shape.identity,
            shape.attributes,
            shape.text,
            shape.prior
        ),
        (48, 32, 32, 192, 17, 0, true)
    );
    assert_eq!(
        (
            pack.settings(DiffusionMode::Ksame).steps,
            pack.settings(DiffusionMode::Ksame).solver
        ),
        (1, Solver::SdeDpmpp2m)
    );
    assert_eq!(pack.settings(DiffusionMode::Reverse), ModeSettings::builtin(DiffusionMode::Reverse));
    assert_eq!(pack.read("denoiser").expect("reads"), DENOISER);
    assert_eq!(pack.empty_text().expect("adaln has none"), Vec::<f32>::new());
    let (inputs, outputs) = seen(&pack);
    pack.check_signature("denoiser", &inputs, &outputs).expect("the same");
}

#[test]
fn words_become_vectors_and_numbers_take_the_nearest() {
    let folder = on_disk(&adaln());
    let pack = Pack::open(folder.path()).expect("opens");
    let vector = |words: &[&str]| pack.attributes(words.iter().copied()).expect("known").vector.expect("a vector");
    assert_eq!(
        vector(&["age=63", "sex=female"])
            .iter()
            .enumerate()
            .filter(|(_, v)| **v == 1.0)
            .map(|(i, _)| i)
            .collect::<Vec<_>>(),
        [7, 11]
    );
    assert_eq!(vector(&["look=tired"])[16], 0.5);
    assert_eq!(pack.attributes([]).expect("nothing asked"), super::Asked::default());
    for word in ["hat=red", "age", "age=old", "sex=3"] {
        let error = pack.attributes([word]).expect_err("unknown");
        assert!(
            error.to_string().contains("age=20, age=70, look=tired, sex=female") && error.to_string().contains(word),
            "{error}"
        );
    }
}

/// Replaces one piece of the right manifest; the error must name the field.
#[test]
fn every_fault_is_named() {
    let cases = [
        ("format = 1", "format = 2", "format"),
        ("name = \"tiny\"", "name = \"\"", "name"),
        ("limits = \"knows nothing\"\n", "", "limits"),
        ("limits =", "color = 3\nlimits =", "color"),
        ("size_px = 128", "size_px = 130", "latent.factor"),
        ("size_px = 128", "size_px = 4000000000", "crop.size_px"),
        ("size_px = 128", "size_px = -1", "size_px"),
        ("channels = 48", "channels = 16", "latent.channels"),
        ("channels = 48", "channels = 4294967295", "latent.channels"),
        ("factor = 4", "factor = 0", "latent.factor"),
        ("factor = 4\n", "factor = 4\nscale = 0.0\n", "latent.scale"),
        ("factor = 4\n", "factor = 4\nencoder = \"denoiser\"\n", "latent.encoder"),
        ("kind = \"space-to-depth\"", "kind = \"autoencoder\"", "latent.encoder"),
        ("prediction = \"x0\"", "prediction = \"x1\"", "prediction"),
        ("shift = 0.5", "shift = nan", "schedule.shift"),
        ("lambda_max = 6.0", "lambda_max = 60.0", "schedule.lambda_max"),
        ("lambda_max = 6.0", "lambda_max = 6.0\nsteps = 7", "steps"),
        ("interface = \"adaln\"", "interface = \"cross-attention\"", "denoiser.inputs.text"),
        ("fp32 = \"denoiser\"", "fp32 = \"denoiser2\"", "denoiser.files.fp32"),
        ("lambda = \"lam\"", "lambda = \"lamb\"", "lambda"),
        ("lambda = \"lam\"\n", "", "denoiser.inputs"),
        ("output = \"clean\"", "output = \"dirty\"", "files.denoiser.outputs"),
        ("dimension = 192", "dimension = 512", "identity"),
        ("dimension = 192", "dimension = 1000000", "identity.dimension"),
        ("length = 17", "length = 11", "attributes.vocabulary.\"look=tired\""),
        ("\"age=70\" = 7", "\"age=70\" = 17", "attributes.vocabulary.\"age=70\""),
        ("\"age=70\" = 7", "\"age70\" = 7", "attributes.vocabulary.\"age70\""),
        ("\"age=70\" = 7", "\"age=70\" = \"denoiser\"", "attributes.vocabulary.\"age=70\""),
        ("manifest = \"basis\"", "manifest = \"nothing\"", "basis.manifest"),
        ("steps = 1", "steps = 101", "defaults.ksame.steps"),
        ("guidance = 1.0", "guidance = 1000.0", "defaults.ksame.guidance"),
        ("start = -0.5", "start = nan", "defaults.ksame.lambda start"),
        ("[basis]\nmanifest = \"basis\"\nfiles = []\n", "", "defaults.ksame.from_prior"),
        ("path = \"denoiser.onnx\"", "path = \"../denoiser.onnx\"", "files.denoiser.path"),
        ("path = \"denoiser.onnx\"", "path = \"/etc/hostname\"", "files.denoiser.path"),
        (
            "name = \"x\", shape = [\"n\", 48, 32, 32]",
            "name = \"x\", shape = [\"n\", 48, 16, 32]",
            "x",
        ),
        ("dtype = \"float32\" }]", "dtype = \"float8\" }]", "dtype"),
    ];
    let right = adaln();
    let mut tried = 0;
    for (from, to, name) in cases {
        if !right.contains(from) {
            assert!(name.is_empty(), "`{from}` is not in the manifest");
            continue;
        }
        tried += 1;
        let text = right.replacen(from, to, 1);
        let error = Pack::parse(&text).expect_err(name).to_string();
        assert!(error.contains(name), "{from} → {to}: {error}");
    }
    assert!(tried >= 35, "{tried}");
    Pack::parse(&right).expect("the right one parses");
}

#[test]
fn files_that_are_others_missing_or_outside_are_refused() {
    let folder = on_disk(&adaln());
    let pack = Pack::open(folder.path()).expect("opens");
    let denoiser = folder.path().join("denoiser.onnx");
    let mut other = DENOISER.to_vec();
    other[3] ^= 1;
    std::fs::write(&denoiser, &other).expect("written");
    for error in [
        pack.verify().expect_err("swapped"),
        pack.read("denoiser").expect_err("swapped"),
        Pack::open(folder.path()).expect_err("swapped"),
    ] {
        assert!(error.to_string().contains("files.denoiser.sha256"), "{error}");
    }
    std::fs::write(&denoiser, b"short").expect("written");
    assert!(
        pack.read("denoiser")
            .expect_err("short")
            .to_string()
            .contains("files.denoiser.bytes")
    );
    std::fs::remove_file(&denoiser).expect("removed");
    assert!(matches!(pack.verify(), Err(PackError::Io { .. })));
    assert!(pack.read("nothing").expect_err("unknown").to_string().contains("`nothing`"));
    assert!(matches!(Pack::open(Path::new("no/such/pack")), Err(PackError::Io { .. })));
    #[cfg(unix)]
    {
        let outside = tempfile::tempdir().expect("a folder");
        std::fs::write(outside.path().join("d"), DENOISER).expect("written");
        std::os::unix::fs::symlink(outside.path().join("d"), &denoiser).expect("linked");
        assert!(
            pack.read("denoiser")
                .expect_err("outside")
                .to_string()
                .contains("files.denoiser.path")
        );
    }
}

#[test]
fn a_manifest_that_is_too_long_is_not_read() {
    let folder = on_disk(&adaln());
    std::fs::write(folder.path().join("pack.toml"), vec![b'#'; super::MAX_MANIFEST_BYTES as usize + 1]).expect("written");
    assert!(Pack::open(folder.path()).expect_err("too long").to_string().contains("at most"));
    std::fs::write(folder.path().join("pack.toml"), [0xff, 0xfe]).expect("written");
    assert!(matches!(Pack::open(folder.path()), Err(PackError::Parse { .. })));
}

#[test]
fn a_network_of_another_signature_is_refused() {
    let folder = on_disk(&adaln());
    let pack = Pack::open(folder.path()).expect("opens");
    let (inputs, outputs) = seen(&pack);
    let refused = |inputs: &[TensorSeen], outputs: &[TensorSeen], name: &str| {
        let error = pack.check_signature("denoiser", inputs, outputs).expect_err(name).to_string();
        assert!(error.contains(name), "{error}");
    };
    let with = |change: &dyn Fn(&mut TensorSeen)| {
        let mut changed = inputs.clone();
        change(&mut changed[0]);
        changed
    };
    refused(&with(&|t| t.shape[2] = 64), &outputs, "files.denoiser.inputs.x.shape");
    refused(&with(&|t| t.shape[0] = 1), &outputs, "files.denoiser.inputs.x.shape");
    refused(&with(&|t| t.dtype = Dtype::Float16), &outputs, "files.denoiser.inputs.x.dtype");
    refused(&with(&|t| t.name = "y".into()), &outputs, "files.denoiser.inputs.y");
    refused(&inputs[1..], &outputs, "files.denoiser.inputs");
    refused(&inputs, &[], "files.denoiser.outputs");
}

#[test]
fn a_cross_attention_pack_has_text_and_an_autoencoder() {
    let tokens: Vec<u8> = (0..6).flat_map(|i| (i as f32).to_le_bytes()).collect();
    let text = format!(
        r#"
format = 1
name = "sd"
version = "1"
licence = "openrail"
trained_on = "what its authors say"
intended_use = "tests"
limits = "none known"
prediction = "eps"
figures = {{}}
crop = {{ template = "ffhq", size_px = 64 }}
latent = {{ kind = "autoencoder", channels = 4, factor = 8, scale = 0.18215, encoder = "enc", decoder = "dec" }}
schedule = {{ kind = "scaled-linear", beta_start = 0.00085, beta_end = 0.012, steps = 1000 }}
identity = {{ recogniser = "arcface", preprocessing = "user's", dimension = 512, null = "zeros" }}
attributes = {{ length = 0, vocabulary = {{ "person=old" = "empty" }} }}
[denoiser]
interface = "cross-attention"
files = {{ fp16 = "unet" }}
inputs = {{ x = "sample", time = "timestep", text = "text", identity = "id" }}
output = "noise"
text_len = 6
empty_text = "empty"
[files]
empty = {{ path = "d.onnx", sha256 = "{}" }}
enc = {{ path = "enc.onnx", sha256 = "{}" }}
dec = {{ path = "dec.onnx", sha256 = "{}" }}
[files.unet]
path = "unet.onnx"
sha256 = "{}"
inputs = [
  {{ name = "sample", shape = ["n", 4, 8, 8], dtype = "float16" }},
  {{ name = "timestep", shape = ["n"], dtype = "float16" }},
  {{ name = "text", shape = ["n", 2, 3], dtype = "float16" }},
  {{ name = "id", shape = ["n", 512], dtype = "float16" }},
]
outputs = [{{ name = "noise", shape = ["n", 4, 8, 8], dtype = "float16" }}]
"#,
        hex(&tokens),
        hex(b"e"),
        hex(b"d"),
        hex(b"u")
    );
    let folder = on_disk(&text);
    for (name, bytes) in [("d.onnx", &tokens[..]), ("enc.onnx", b"e"), ("dec.onnx", b"d"), ("unet.onnx", b"u")] {
        std::fs::write(folder.path().join(name), bytes).expect("written");
    }
    let pack = Pack::open(folder.path()).expect("opens");
    assert_eq!(pack.empty_text().expect("tokens"), [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]);
    assert_eq!(pack.attributes(["person=old"]).expect("known").text.map(|t| t.len()), Some(6));
    assert_eq!(
        (pack.row_shape().text, pack.row_shape().attributes, pack.row_shape().prior),
        (6, 0, false)
    );
    let bare = text.replacen("text_len = 6\nempty_text = \"empty\"", "text_len = 6", 1);
    assert!(
        Pack::parse(&bare)
            .expect_err("no empty text")
            .to_string()
            .contains("denoiser.empty_text")
    );
}
