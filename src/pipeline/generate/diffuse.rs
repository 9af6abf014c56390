//! The denoiser's part: a base picture of the crop in, the edit Δ out.
//!
//! | | |
//! |---|---|
//! | base | composite or crop, interleaved RGB 0–255, [`CROP_PX`] square; goes in noised and clean |
//! | mask | 0–1 a pixel: where the edit may act |
//! | Δ | result − base, grey levels, same layout; 0 where the mask is 0 |
//! | checked | finite; still the picture of the same face: correlation and mean difference of luma under the mask |
//!
//! The last check is what catches a denoiser that returns zeros, one colour or noise: such a result
//! would embed far from the source and yet be no face.

use std::collections::BTreeMap;

use nullface_kernels::cuda::Gpu;

use crate::backend::{Backend, Input, Network, Outlet};
use crate::pack::{Asked, Pack};
use crate::secret::{Purpose, SessionSecret};
use crate::stages::denoise::{
    Denoiser, DiffusionMode, EditFace, IdentityPolicy, ModeConditions, ModeSettings, NoiseModel, ReferenceFace, Schedule, Spacing,
    StepPlan, conditions, edit_on_device, leant, orthogonal_to, target,
};
use crate::stages::invert::FrozenNoise;
use crate::stages::prior::Wanted;

use super::super::engine::EngineError;
use super::super::networks::{self, network};
use super::super::settings::{IdentityChoice, Mode, PrecisionChoice, Preset, Settings, SolverChoice};
use super::canvas::CROP_PX;
use super::gate::Gate;
use super::latents::Latents;
use super::precision;
use super::steer::Steer;

/// Least correlation of the result's luma with the base's.
const LEAST_CORRELATION: f32 = 0.6;
/// Largest mean difference of luma, grey levels.
const MOST_DIFFERENCE: f32 = 48.0;

/// A denoiser and how it is run.
pub(super) struct Diffuser {
    model: Box<dyn NoiseModel>,
    denoiser: Denoiser,
    /// Where steps run, with networks on a GPU.
    gpu: Option<Gpu>,
    schedule: Schedule,
    /// None where the factor given is no divisor: then nothing can be edited.
    latents: Option<Latents>,
    /// Where the pack brings its own recogniser.
    steer: Option<Steer>,
    empty_text: Vec<f32>,
    defaults: BTreeMap<DiffusionMode, ModeSettings>,
    pack: Option<Pack>,
    vae: Option<Vae>,
    gate: Option<Gate>,
    run: Option<Run>,
    x0: Vec<f32>,
    noised: Vec<f32>,
    mask: Vec<f32>,
    out: Vec<f32>,
}

/// The settings in force, worked out.
#[derive(Debug)]
struct Run {
    mode: ModeSettings,
    plan: StepPlan,
    /// The same from a noisier step, for edits that did not pass.
    earlier: StepPlan,
    asked: Asked,
    /// Whether identities pass the pack's gate.
    gated: bool,
}

/// A face to be edited.
pub(super) struct Job<'a> {
    /// Picture that is edited, interleaved RGB 0–255.
    pub(super) base: &'a [f32],
    /// Where, 0–1 a pixel.
    pub(super) mask: &'a [f32],
    pub(super) noise: &'a FrozenNoise,
    pub(super) conditions: ModeConditions,
    /// Multiplies the guidance.
    pub(super) boost: f32,
    /// The edit.
    pub(super) delta: &'a mut Vec<f32>,
}

/// An identity VAE.
#[derive(Debug)]
struct Vae {
    encoder: Network,
    decoder: Network,
    latent: usize,
    identity: usize,
}

impl std::fmt::Debug for Diffuser {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Diffuser").field("run", &self.run).finish_non_exhaustive()
    }
}

pub(super) fn stage(why: impl std::fmt::Display) -> EngineError {
    EngineError::Stage {
        stage: "denoiser",
        why: why.to_string(),
    }
}

impl Diffuser {
    /// Loads a pack's denoiser.
    pub(super) fn open(backend: &Backend, pack: &Pack, precision: PrecisionChoice, seeded: bool) -> Result<Self, EngineError> {
        let m = pack.manifest();
        let model = networks::model(pack, precision::denoiser(backend, pack, precision, seeded)?);
        let mut diffuser = Self::new(Box::new(model), pack.schedule().clone(), m.latent.factor as usize);
        diffuser.latents = Some(Latents::new(networks::codec(backend, pack)?, pack.row_shape().height));
        diffuser.gpu = backend.open_gpu();
        diffuser.steer = Steer::open(backend, pack)?;
        diffuser.empty_text = pack.empty_text()?;
        if let Some(v) = &m.identity_vae {
            diffuser.vae = Some(Vae {
                encoder: network(backend, pack, &v.encoder)?,
                decoder: network(backend, pack, &v.decoder)?,
                latent: v.latent as usize,
                identity: m.identity.dimension as usize,
            });
        }
        diffuser.gate = Gate::open(backend, pack)?;
        diffuser.defaults.clone_from(&m.defaults);
        diffuser.pack = Some(pack.clone());
        Ok(diffuser)
    }

    /// Over any denoiser of space-to-depth latents.
    pub(super) fn new(model: Box<dyn NoiseModel>, schedule: Schedule, factor: usize) -> Self {
        Self {
            model,
            denoiser: Denoiser::new(),
            gpu: None,
            schedule,
            latents: Latents::exact(factor).ok(),
            steer: None,
            empty_text: Vec::new(),
            defaults: BTreeMap::new(),
            pack: None,
            vae: None,
            gate: None,
            run: None,
            x0: Vec::new(),
            noised: Vec::new(),
            mask: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Works settings out; the attributes that textures are chosen by come back.
    pub(super) fn configure(&mut self, settings: &Settings) -> Result<Wanted, EngineError> {
        let kind = match settings.mode {
            Mode::Reverse => DiffusionMode::Reverse,
            Mode::Id2face => DiffusionMode::Id2face,
            Mode::Ksame => DiffusionMode::Ksame,
            _ => DiffusionMode::Nullface,
        };
        let mut mode = self.defaults.get(&kind).copied().unwrap_or_else(|| ModeSettings {
            // Whoever takes a composite was trained to start from one.
            from_prior: self.model.shape().prior,
            ..ModeSettings::builtin(kind)
        });
        match settings.preset {
            Preset::None if kind == DiffusionMode::Nullface && self.steer.is_none() => {
                // The composite gives a target that is no function of the source.
                mode.identity = IdentityPolicy::Ksame;
            }
            Preset::None => {}
            preset => mode = ModeSettings::preset(preset.word()).map_or(mode, |p| p.1),
        }
        overrule(&mut mode, settings);
        mode.check().map_err(stage)?;
        if self.steer.is_some() && mode.identity == IdentityPolicy::Ksame {
            return Err(stage(
                "identity: expected orthogonal, negate, repel or random with this pack, got ksame",
            ));
        }
        let words: Vec<&str> = settings.attributes.split(',').map(str::trim).filter(|w| !w.is_empty()).collect();
        let asked = match &self.pack {
            Some(pack) => pack.attributes(words.iter().copied())?,
            None => Asked::default(),
        };
        let plan = mode.plan(&self.schedule).map_err(stage)?;
        let earlier = ModeSettings {
            spacing: earlier(mode.spacing),
            ..mode
        };
        // A schedule that has no room before the first step goes on as it is.
        let earlier = earlier.plan(&self.schedule).unwrap_or_else(|_| plan.clone());
        let gated = kind == DiffusionMode::Id2face && self.gate.is_some();
        self.run = Some(Run {
            mode,
            plan,
            earlier,
            asked,
            gated,
        });
        Ok(wanted(&words))
    }

    /// Whether the picture that is edited is the composite.
    pub(super) fn starts_at_prior(&self) -> bool {
        self.run.as_ref().is_none_or(|r| r.mode.from_prior)
    }

    /// Draws a person's noise.
    pub(super) fn noise(&self, secret: &SessionSecret, person: u64, kept: &mut Option<FrozenNoise>) {
        let steps = self.run.as_ref().map_or(1, |r| r.plan.steps().max(r.earlier.steps()));
        let noise = kept.get_or_insert_with(|| FrozenNoise::draw(secret, person, steps, self.model.shape().latent_len()));
        noise.grow(secret, steps);
    }

    /// The branches for a person; `crop` is the frame's own, interleaved RGB 0–255.
    #[allow(clippy::too_many_arguments)] // a face, its two identities, and where its draws come from
    pub(super) fn conditions(
        &mut self,
        source: &[f32],
        ksame: &[f32],
        crop: &[f32],
        secret: &SessionSecret,
        person: u64,
        attempt: u32,
    ) -> Result<ModeConditions, String> {
        let mut shape = self.model.shape();
        let run = self.run.as_ref().ok_or("no settings")?;
        let m = &run.mode;
        let own = self.steer.as_mut().map(|s| s.source(person, crop)).transpose()?;
        let (source, ksame) = own.as_deref().map_or((source, Some(ksame)), |own| (own, None));
        let mut identity = match &mut self.vae {
            Some(vae) if run.gated && m.identity == IdentityPolicy::Orthogonal => {
                vae.orthogonal(source, m.lean, secret, person, attempt)?
            }
            _ => target(m.identity, source, ksame, m.turn(), secret, person, attempt).map_err(|e| e.to_string())?,
        };
        if identity.len() != shape.identity {
            return Err(format!("identity: expected {} values, got {}", shape.identity, identity.len()));
        }
        if let Some(gate) = self.gate.as_mut().filter(|_| run.gated) {
            let n = 3 * CROP_PX * CROP_PX;
            if crop.len() != n || shape.latent_len() != n {
                return Err(format!("crop: expected {n} values, got {}", crop.len()));
            }
            self.out.resize(self.out.len().max(n), 0.0);
            self.latents.as_mut().ok_or("no latents")?.encode(crop, &mut self.out[..n])?;
            gate.append(&shape, &self.out[..n], &mut identity)?;
            shape = gate.widened(shape);
        }
        let (vector, text) = (run.asked.vector.as_deref(), run.asked.text.as_deref());
        Ok(conditions(&shape, m, &identity, vector, text, &self.empty_text))
    }

    /// The edits of some faces in one batch; one verdict a face. `earlier` starts from a noisier step.
    ///
    /// # Errors
    /// What makes the whole batch worthless.
    pub(super) fn edit(&mut self, jobs: &mut [Job<'_>], earlier: bool) -> Result<Vec<Result<(), String>>, String> {
        let run = self.run.as_ref().ok_or("no settings")?;
        let plan = if earlier { &run.earlier } else { &run.plan };
        let latents = self.latents.as_mut().ok_or("the latents' factor is no divisor of the crop")?;
        let n = CROP_PX * CROP_PX;
        let (len, mask_len, steps, count) = (latents.len(), latents.mask_len(), plan.steps(), jobs.len());
        if self.model.shape().latent_len() != len || jobs.iter().any(|j| j.base.len() != 3 * n || j.mask.len() != n) {
            return Err(format!(
                "expected pictures of {} values and latents of {len}, got latents of {}",
                3 * n,
                self.model.shape().latent_len()
            ));
        }
        for v in [&mut self.x0, &mut self.out] {
            v.resize(v.len().max(count * len), 0.0);
        }
        self.mask.resize(self.mask.len().max(count * mask_len), 0.0);
        self.noised.resize(self.noised.len().max(count * steps * len), 0.0);
        let inverts = plan.solver() == crate::stages::denoise::Solver::Dpmpp2m;
        let (alphas, sigmas) = (plan.alphas(), plan.sigmas());
        let parts = self.x0.chunks_exact_mut(len).zip(self.mask.chunks_exact_mut(mask_len));
        for ((job, (x0, mask)), noised) in jobs.iter().zip(parts).zip(self.noised.chunks_exact_mut(steps * len)) {
            latents.mask(job.mask, mask)?;
            latents.encode(job.base, x0)?;
            if !inverts {
                job.noise.noise_latents(x0, &alphas, &sigmas, noised).map_err(|e| e.to_string())?;
            }
        }
        let parts = self
            .x0
            .chunks_exact(len)
            .zip(self.mask.chunks_exact(mask_len))
            .zip(self.noised.chunks_exact(steps * len));
        let faces: Vec<EditFace<'_>> = jobs
            .iter()
            .zip(parts)
            .map(|(job, ((x0, mask), noised))| EditFace {
                source: ReferenceFace {
                    x0,
                    prior: Some(x0),
                    reference: &job.conditions.reference,
                },
                noised: if inverts { &[] } else { noised },
                mask: Some(mask),
                unconditional: job.conditions.unconditional.as_ref(),
                conditional: &job.conditions.conditional,
                guidance: run.mode.guidance * job.boost,
            })
            .collect();
        let options = run.mode.edit_options();
        let out = &mut self.out[..count * len];
        let edited = match self.gate.as_mut().filter(|_| run.gated) {
            Some(gate) => {
                let model = &mut gate.before(self.model.as_mut());
                self.denoiser.edit(model, plan, &options, &faces, out).map(|_| ())
            }
            // A lost device is not asked again: the network finds its own way back, and is copied to and from.
            None => match (self.gpu.as_ref().filter(|g| !g.is_lost() && !inverts), self.model.on_device()) {
                (Some(gpu), Some(model)) => edit_on_device(gpu, model, plan, &options, &faces, out).map(|_| ()),
                _ => self.denoiser.edit(self.model.as_mut(), plan, &options, &faces, out).map(|_| ()),
            },
        };
        edited.map_err(|e| e.to_string())?;
        let mut verdicts = Vec::with_capacity(count);
        for (job, out) in jobs.iter_mut().zip(self.out.chunks_exact(len)) {
            let keeps = latents.is_exact();
            let planar = latents.decode(out)?;
            job.delta.resize(3 * n, 0.0);
            for (i, (d, b)) in job.delta.chunks_exact_mut(3).zip(job.base.chunks_exact(3)).enumerate() {
                for c in 0..3 {
                    // An autoencoder gives back nothing as it was; outside the mask the frame stays.
                    d[c] = if !keeps && job.mask[i] == 0.0 {
                        0.0
                    } else {
                        (planar[c * n + i].clamp(-1.0, 1.0) + 1.0) * 127.5 - b[c]
                    };
                }
            }
            verdicts.push(plausible(job.base, job.delta, job.mask));
        }
        Ok(verdicts)
    }
}

/// What a user set stands above the mode's own.
fn overrule(mode: &mut ModeSettings, settings: &Settings) {
    if let Some(identity) = policy(settings.identity) {
        mode.identity = identity;
    }
    if let Some(solver) = settings.solver.solver() {
        mode.solver = solver;
    }
    if let Some(skip) = settings.skip {
        mode.spacing = Spacing::Linspace { skip: f64::from(skip) };
    }
    mode.steps = settings.steps.map_or(mode.steps, |s| s as usize);
    mode.guidance = settings.guidance.unwrap_or(mode.guidance) * settings.strength;
    mode.rescale = settings.rescale.unwrap_or(mode.rescale);
    mode.mask_delay = settings.mask_delay.map_or(mode.mask_delay, |d| d as usize);
    mode.residual_guidance = settings.residual_guidance.unwrap_or(mode.residual_guidance);
}

/// The same times with a noisier start.
fn earlier(spacing: Spacing) -> Spacing {
    match spacing {
        Spacing::Ddim { skip } => Spacing::Ddim { skip: skip * 0.8 },
        Spacing::Linspace { skip } => Spacing::Linspace { skip: skip * 0.8 },
        Spacing::Lambda { start, end } => Spacing::Lambda { start: start - 0.5, end },
    }
}

impl Vae {
    /// Minimal Orthogonal Identity Mapping in the VAE's space, leant there.
    fn orthogonal(&mut self, source: &[f32], lean: f32, secret: &SessionSecret, person: u64, attempt: u32) -> Result<Vec<f32>, String> {
        let text = |e: crate::backend::BackendError| e.to_string();
        let mut z = vec![0.0; self.latent];
        let one = [1, self.identity];
        let name = |outlets: Vec<Outlet>| outlets.first().map(|o| o.name.clone()).unwrap_or_default();
        let (from, to) = (name(self.encoder.inputs()), name(self.encoder.outputs()));
        self.encoder
            .run(
                &[Input {
                    name: &from,
                    shape: &one,
                    values: source,
                }],
                &to,
                &mut z,
            )
            .map_err(text)?;
        let mut random = vec![0.0; self.latent];
        secret.stream(Purpose::Target, person, attempt).fill_normal(&mut random);
        let apart = leant(&orthogonal_to(&random, &z), &z, lean);
        let mut identity = vec![0.0; self.identity];
        let (from, to) = (name(self.decoder.inputs()), name(self.decoder.outputs()));
        self.decoder
            .run(
                &[Input {
                    name: &from,
                    shape: &[1, self.latent],
                    values: &apart,
                }],
                &to,
                &mut identity,
            )
            .map_err(text)?;
        Ok(identity)
    }
}

/// Whether base + delta still shows the base's face.
fn plausible(base: &[f32], delta: &[f32], mask: &[f32]) -> Result<(), String> {
    let luma = |p: &[f32]| 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2];
    let (mut n, mut sb, mut sr, mut sbb, mut srr, mut sbr, mut off) = (0.0_f64, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    for ((b, d), m) in base.chunks_exact(3).zip(delta.chunks_exact(3)).zip(mask) {
        if *m > 0.5 {
            let (b, d) = (f64::from(luma(b)), f64::from(luma(d)));
            let r = b + d;
            n += 1.0;
            sb += b;
            sr += r;
            sbb += b * b;
            srr += r * r;
            sbr += b * r;
            off += d.abs();
        }
    }
    if n < 100.0 {
        return Err("expected a mask of 100 px or more".to_owned());
    }
    let (vb, vr, cov) = (sbb - sb * sb / n, srr - sr * sr / n, sbr - sb * sr / n);
    let correlation = (cov / (vb * vr).sqrt().max(1e-9)) as f32;
    let difference = (off / n) as f32;
    if correlation >= LEAST_CORRELATION && difference <= MOST_DIFFERENCE {
        Ok(())
    } else {
        Err(format!(
            "expected the same face (correlation ≥ {LEAST_CORRELATION}, difference ≤ {MOST_DIFFERENCE}), got {correlation:.2} and {difference:.0}"
        ))
    }
}

fn policy(choice: IdentityChoice) -> Option<IdentityPolicy> {
    match choice {
        IdentityChoice::Auto => None,
        IdentityChoice::Ksame => Some(IdentityPolicy::Ksame),
        IdentityChoice::Orthogonal => Some(IdentityPolicy::Orthogonal),
        IdentityChoice::Negate => Some(IdentityPolicy::Negate),
        IdentityChoice::Repel => Some(IdentityPolicy::Repel),
        IdentityChoice::Random => Some(IdentityPolicy::Random),
    }
}

impl SolverChoice {
    fn solver(self) -> Option<crate::stages::denoise::Solver> {
        use crate::stages::denoise::Solver;
        match self {
            Self::Auto => None,
            Self::Ddpm => Some(Solver::Ddpm),
            Self::SdeDpmpp2m => Some(Solver::SdeDpmpp2m),
            Self::Dpmpp2m => Some(Solver::Dpmpp2m),
        }
    }
}

/// The words that also choose textures.
pub(super) fn wanted(words: &[&str]) -> Wanted {
    const SEXES: [&str; 2] = ["male", "female"];
    const GROUPS: [&str; 5] = ["white", "black", "asian", "indian", "other"];
    let place = |list: &[&str], value: &str| list.iter().position(|w| *w == value).and_then(|i| i32::try_from(i).ok());
    let mut wanted = Wanted::default();
    for (name, value) in words.iter().filter_map(|w| w.split_once('=')) {
        match name {
            "sex" => wanted.sex = place(&SEXES, value),
            "group" => wanted.group = place(&GROUPS, value),
            "age" => wanted.age = value.parse().ok(),
            _ => {}
        }
    }
    (wanted.age_asked, wanted.group_asked) = (wanted.age.is_some(), wanted.group.is_some());
    wanted
}

#[cfg(test)]
mod tests {
    use super::{CROP_PX, Diffuser, Job, plausible, wanted};
    use crate::backend::testing::backend;
    use crate::pack::Pack;
    use crate::pipeline::settings::{IdentityChoice, Mode, PrecisionChoice, Settings};
    use crate::secret::SessionSecret;

    /// Random weights make no face: what comes back must be told to be none, and nothing else may fail.
    #[test]
    fn a_big_pack_runs_whole_and_what_is_no_face_is_not_taken_for_one() {
        let secret = SessionSecret::from_seed(3);
        for name in ["faceid", "turbo"] {
            let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/big").join(name);
            let pack = Pack::open(&folder).expect("opens");
            let mut diffuser = Diffuser::open(&backend(), &pack, PrecisionChoice::Auto, true).expect("loads");
            let settings = Settings {
                mode: Mode::Reverse,
                attributes: "age=70,sex=female".to_owned(),
                ..Settings::default()
            };
            diffuser.configure(&settings).expect("in the vocabulary");
            assert!(!diffuser.starts_at_prior());
            let n = CROP_PX * CROP_PX;
            let crops: Vec<Vec<f32>> = (0..2)
                .map(|f| {
                    (0..3 * n)
                        .map(|i| 128.0 + 90.0 * ((i / 3 % CROP_PX) as f32 * (0.05 + f as f32 * 0.02)).sin())
                        .collect()
                })
                .collect();
            let mask: Vec<f32> = (0..n).map(|i| if i / CROP_PX < 40 { 0.0 } else { 1.0 }).collect();
            let mut deltas = vec![Vec::new(); 2];
            let mut noises = vec![None; 2];
            let mut jobs = Vec::new();
            for (person, noise) in noises.iter_mut().enumerate() {
                diffuser.noise(&secret, person as u64, noise);
            }
            for (f, delta) in deltas.iter_mut().enumerate() {
                let conditions = diffuser.conditions(&[], &[], &crops[f], &secret, f as u64, 0).expect("conditions");
                assert_eq!(conditions.conditional.identity.len(), 16, "of the pack's recogniser");
                let promoted = conditions.unconditional.as_ref().expect("attributes are promoted");
                assert_ne!(promoted.text, conditions.reference.text);
                jobs.push(Job {
                    base: &crops[f],
                    mask: &mask,
                    noise: noises[f].as_ref().expect("drawn"),
                    conditions,
                    boost: 1.0,
                    delta,
                });
            }
            let verdicts = diffuser.edit(&mut jobs, false).expect("runs");
            for verdict in verdicts {
                assert!(verdict.expect_err("random weights").contains("expected the same face"));
            }
            for delta in &deltas {
                assert!(delta.len() == 3 * n && delta.iter().all(|v| v.is_finite()));
                assert!(
                    delta[..3 * 40 * CROP_PX].iter().all(|v| *v == 0.0),
                    "outside the mask nothing changes"
                );
                assert!(delta.iter().any(|v| v.abs() > 1.0));
            }
            let ksame = Settings {
                identity: IdentityChoice::Ksame,
                ..settings
            };
            assert!(
                diffuser
                    .configure(&ksame)
                    .expect_err("no composite there")
                    .to_string()
                    .contains("identity")
            );
        }
    }

    /// The shim stands for a GPU: the same edits come out of both paths, and a lost device ends in an
    /// error for one frame and the processor's path from then on.
    #[cfg(target_os = "linux")]
    #[test]
    fn edits_on_a_device_are_the_processors_and_a_lost_one_costs_one_frame() {
        use std::sync::atomic::Ordering;
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/nullface-128");
        let pack = Pack::open(&folder).expect("opens");
        let secret = SessionSecret::from_seed(5);
        let mut diffuser = Diffuser::open(&backend(), &pack, PrecisionChoice::Fp32, true).expect("loads");
        let settings = Settings {
            mode: Mode::Nullface,
            ..Settings::default()
        };
        diffuser.configure(&settings).expect("defaults");
        let n = CROP_PX * CROP_PX;
        let crop: Vec<f32> = (0..3 * n)
            .map(|i| 128.0 + 60.0 * ((i / 3 % CROP_PX) as f32 * 0.07).sin() + (i / 3 / CROP_PX) as f32 * 0.3)
            .collect();
        let (mask, target) = (vec![1.0; n], vec![1.0 / 192.0_f32.sqrt(); 192]);
        let mut noise = None;
        diffuser.noise(&secret, 1, &mut noise);
        let edit = |diffuser: &mut Diffuser| {
            let conditions = diffuser.conditions(&target, &target, &crop, &secret, 1, 0).expect("conditions");
            let mut delta = Vec::new();
            let mut jobs = [Job {
                base: &crop,
                mask: &mask,
                noise: noise.as_ref().expect("drawn"),
                conditions,
                boost: 1.0,
                delta: &mut delta,
            }];
            diffuser.edit(&mut jobs, false).map(|_| delta)
        };
        let want = edit(&mut diffuser).expect("runs");
        let (gpu, knobs) = crate::pipeline::shim::gpu();
        diffuser.gpu = Some(gpu);
        let got = edit(&mut diffuser).expect("runs");
        let off = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(off < 0.05 && want.iter().any(|d| d.abs() > 1.0), "grey levels: {off}");
        assert!(
            knobs.launched.lock().expect("lock").iter().any(|k| k == "edit_step"),
            "it ran there"
        );
        knobs.calls_left.store(9, Ordering::SeqCst);
        assert!(
            edit(&mut diffuser).expect_err("pulled out").contains("lost"),
            "this frame is covered"
        );
        assert_eq!(edit(&mut diffuser).expect("the processor's path"), want);
    }

    #[test]
    fn targets_across_the_source_lean_as_the_pack_says() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/nullface-128");
        let pack = Pack::open(&folder).expect("opens");
        let mut diffuser = Diffuser::open(&backend(), &pack, PrecisionChoice::Fp32, true).expect("loads");
        let source = vec![1.0 / 192.0_f32.sqrt(); 192];
        let crop = vec![128.0; 3 * CROP_PX * CROP_PX];
        for (mode, identity) in [(Mode::Nullface, IdentityChoice::Orthogonal), (Mode::Ksame, IdentityChoice::Ksame)] {
            let settings = Settings {
                mode,
                identity,
                ..Settings::default()
            };
            diffuser.configure(&settings).expect("in the vocabulary");
            let made = diffuser
                .conditions(&source, &source, &crop, &SessionSecret::from_seed(5), 1, 0)
                .expect("conditions");
            let cos: f32 = made.conditional.identity.iter().zip(&source).map(|(a, b)| a * b).sum();
            let expected = if identity == IdentityChoice::Orthogonal { -0.7 } else { 1.0 };
            assert!((cos - expected).abs() < 1e-4, "{mode:?}: {cos}");
        }
    }

    #[test]
    fn zeros_one_colour_and_noise_are_no_face() {
        let base: Vec<f32> = (0..300 * 3).map(|i| 60.0 + ((i / 3) % 100) as f32).collect();
        let mask = vec![1.0; 300];
        assert!(plausible(&base, &vec![3.0; 900], &mask).is_ok());
        let constant: Vec<f32> = base.iter().map(|b| 110.0 - b).collect();
        assert!(plausible(&base, &constant, &mask).is_err(), "one colour");
        let noise: Vec<f32> = base.iter().enumerate().map(|(i, b)| ((i / 3 * 7919) % 251) as f32 - b).collect();
        assert!(plausible(&base, &noise, &mask).is_err(), "noise");
        assert!(plausible(&base, &vec![60.0; 900], &mask).is_err(), "far too bright");
        assert!(plausible(&base, &vec![f32::NAN; 900], &mask).is_err(), "not a number");
        assert!(plausible(&base, &vec![0.0; 900], &vec![0.0; 300]).is_err(), "no mask");
    }

    #[test]
    fn asked_words_choose_textures() {
        let w = wanted(&["age=70", "sex=female", "group=asian", "hat=red"]);
        assert_eq!((w.age, w.sex, w.group), (Some(70.0), Some(1), Some(2)));
    }
}
