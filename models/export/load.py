"""Checkpoint folders -> one pipeline with the face adapter in it and its LoRA (and a speed LoRA) fused into the weights.

Loading is diffusers' own: what is exported is what its pipeline would run. Nothing is fetched: every path is a file or folder here.
"""
import os
import sys

import torch
from diffusers import AutoencoderTiny, AutoencoderKL, StableDiffusionPipeline, StableDiffusionXLPipeline

KINDS = {"sd15": StableDiffusionPipeline, "sdxl": StableDiffusionXLPipeline}


def need(path, what):
    if not os.path.exists(path):
        sys.exit(f"export: {what}: expected a file or folder at {path}, got nothing; README.md says which file to fetch")
    return path


def pipeline(kind, base, adapter, autoencoder=None, speed_lora=None):
    pipe = KINDS[kind].from_pretrained(need(base, "base checkpoint"), local_files_only=True, torch_dtype=torch.float32,
                                       **({"safety_checker": None, "feature_extractor": None, "image_encoder": None} if kind == "sd15" else {}))
    need(adapter, "face adapter")
    pipe.load_ip_adapter(os.path.dirname(os.path.abspath(adapter)), subfolder="", weight_name=os.path.basename(adapter), image_encoder_folder=None, local_files_only=True)
    pipe.set_ip_adapter_scale(1.0)
    names = [n for n in (getattr(pipe.unet, "peft_config", None) or {}) if n.startswith("faceid_")]
    if speed_lora:
        pipe.load_lora_weights(os.path.dirname(os.path.abspath(need(speed_lora, "speed LoRA"))), weight_name=os.path.basename(speed_lora), adapter_name="speed", local_files_only=True)
        names.append("speed")
    if names:
        pipe.set_adapters(names, adapter_weights=[1.0] * len(names))
        pipe.fuse_lora(adapter_names=names, components=["unet"])
        pipe.unload_lora_weights()
    if autoencoder:
        need(autoencoder, "autoencoder")
        with open(os.path.join(autoencoder, "config.json"), encoding="utf-8") as f:
            tiny = "AutoencoderTiny" in f.read()
        pipe.vae = (AutoencoderTiny if tiny else AutoencoderKL).from_pretrained(autoencoder, local_files_only=True, torch_dtype=torch.float32)
    for part in (pipe.unet, pipe.vae):
        part.eval().requires_grad_(False)
    return pipe


@torch.no_grad()
def text_row(pipe, prompt):
    """One row of the denoiser's text input: tokens, then the pooled vector where there is one."""
    got = pipe.encode_prompt(prompt=prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False)
    parts = [got[0][0].reshape(-1)]
    if isinstance(pipe, StableDiffusionXLPipeline):
        parts.append(got[2][0].reshape(-1))
    return torch.cat(parts).float().numpy()


def tokens_of(pipe):
    return pipe.tokenizer.model_max_length


def identity_dimension(pipe):
    layer = pipe.unet.encoder_hid_proj.image_projection_layers[0]
    return layer.ff.net[0].proj.in_features
