"""The edit as diffusers runs it: its autoencoder, its U-Net with adapter and LoRA loaded but not fused, its schedulers' steps.

Edit-friendly inversion in the published z form: every x_t is noised independently, z is what the scheduler's own step leaves over,
and sampling gives z back to the same step as `variance_noise`. All in float64, so that the engine's float32 is what is measured.
"""
import os

import numpy as np
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler

import load


def wave(shape, seed):
    """Numbers both sides can make: sums of sines, spread like unit noise."""
    i = np.arange(int(np.prod(shape)), dtype=np.float64)
    return torch.from_numpy((np.sin(i * 12.9898 + seed * 78.233) + np.sin(i * 4.1414 + seed * 3.7)).reshape(shape))


def unfused(kind, base, adapter, autoencoder=None, speed_lora=None, **_):
    pipe = load.KINDS[kind].from_pretrained(base, local_files_only=True)
    pipe.load_ip_adapter(os.path.dirname(adapter), subfolder="", weight_name=os.path.basename(adapter), image_encoder_folder=None)
    pipe.set_ip_adapter_scale(1.0)
    names = [n for n in pipe.unet.peft_config if n.startswith("faceid_")]
    if speed_lora:
        pipe.load_lora_weights(os.path.dirname(speed_lora), weight_name=os.path.basename(speed_lora), adapter_name="speed")
        names.append("speed")
    pipe.set_adapters(names, adapter_weights=[1.0] * len(names))
    if autoencoder:
        from diffusers import AutoencoderTiny
        pipe.vae = AutoencoderTiny.from_pretrained(autoencoder)
    for part in (pipe.unet, pipe.vae):
        part.to(torch.float64).eval().requires_grad_(False)
    return pipe


class Model:
    """The U-Net as diffusers' pipeline calls it."""

    def __init__(self, pipe, crop_px):
        self.pipe, self.crop_px, self.xl = pipe, crop_px, pipe.unet.config.addition_embed_type == "text_time"
        self.cache = {}

    def text(self, prompt):
        if prompt not in self.cache:
            got = self.pipe.encode_prompt(prompt=prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
            self.cache[prompt] = (got[0].double(), got[2].double() if self.xl else None)
        return self.cache[prompt]

    @torch.no_grad()
    def __call__(self, x, t, identity, prompt=""):
        tokens, pooled = self.text(prompt)
        n = x.shape[0]
        added = {"image_embeds": [identity.reshape(1, 1, -1).expand(n, 1, -1)]}
        if self.xl:
            s = float(self.crop_px)
            added.update(text_embeds=pooled.expand(n, -1), time_ids=torch.tensor([[s, s, 0, 0, s, s]], dtype=torch.float64).expand(n, 6))
        return self.pipe.unet(x, t, encoder_hidden_states=tokens.expand(n, -1, -1), added_cond_kwargs=added).sample


def encode(pipe, pixels):
    with torch.no_grad():
        out = pipe.vae.encode(pixels)
        z = out.latents if hasattr(out, "latents") else out.latent_dist.mode()
        return (z - (getattr(pipe.vae.config, "shift_factor", None) or 0.0)) * pipe.vae.config.scaling_factor


def decode(pipe, latents):
    with torch.no_grad():
        return pipe.vae.decode(latents / pipe.vae.config.scaling_factor + (getattr(pipe.vae.config, "shift_factor", None) or 0.0)).sample


def ddim(steps, keep):
    def make():
        s = DDIMScheduler(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True, steps_offset=1, timestep_spacing="leading")
        s.set_timesteps(steps)
        return s
    times = make().timesteps[-keep:]
    return make, times, lambda s, out, t, x, z: s.step(out, t, x, eta=1.0, variance_noise=z).prev_sample


def sde(times):
    def make():
        s = DPMSolverMultistepScheduler(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", algorithm_type="sde-dpmsolver++", solver_order=2, final_sigmas_type="zero")
        s.set_timesteps(timesteps=list(times))
        return s
    return make, make().timesteps, lambda s, out, t, x, z: s.step(out, t, x, variance_noise=z).prev_sample


def edit(model, x0, noise, solver, identity, unconditional_prompt, guidance, told=None):
    """`noise`: one field a step, noisiest first. The last step's z is 0, as published. `told`: what the U-Net hears instead of the time."""
    make, times, step = solver
    told = dict(zip(times.tolist(), torch.tensor(told) if told else times))
    null = torch.zeros_like(identity)
    alphas = make().alphas_cumprod.double()
    xs = [alphas[t].sqrt() * x0 + (1 - alphas[t]).sqrt() * e for t, e in zip(times, noise)] + [x0]
    zeros, ones = torch.zeros_like(x0), torch.ones_like(x0)
    low, high, zs = make(), make(), []
    for i, t in enumerate(times):
        out = model(xs[i], told[int(t)], null)
        mu = step(low, out, t, xs[i], zeros)
        std = step(high, out, t, xs[i], ones) - mu
        zs.append((xs[i + 1] - mu) / std if i + 1 < len(times) else zeros)
    sampler, x = make(), xs[0]
    for t, z in zip(times, zs):
        u, c = model(x, told[int(t)], null, unconditional_prompt), model(x, told[int(t)], identity)
        x = step(sampler, u + guidance * (c - u), t, x, z)
    return x
