"""Checkpoints of the real classes with random weights, a few hundred kilobytes: what the export is tested on.

Layout and file formats are those of the published ones: a diffusers folder, an IP-Adapter-FaceID file (projector, keys and
values, rank-r LoRA in adapter names), a speed LoRA in the kohya-free diffusers naming, a tiny autoencoder's folder, a recogniser.
"""
import json
import os
import sys

import torch
import torch.nn as nn
from diffusers import AutoencoderKL, AutoencoderTiny, DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

IDENTITY, WIDTH, LENGTH, SIDE, RANK = 16, 16, 8, 16, 2
BETAS = dict(num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=True, steps_offset=1)


def tokenizer(folder):
    """Every byte as a word of its own, no merges."""
    from transformers.models.clip.tokenization_clip import bytes_to_unicode
    letters = list(bytes_to_unicode().values())
    words = letters + [w + "</w>" for w in letters] + ["<|startoftext|>", "<|endoftext|>"]
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "vocab.json"), "w", encoding="utf-8") as f:
        json.dump({w: i for i, w in enumerate(words)}, f)
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as f:
        f.write("#version: 0.2\n")
    return CLIPTokenizer(os.path.join(folder, "vocab.json"), os.path.join(folder, "merges.txt"), model_max_length=LENGTH)


def text_config(width, projection=None):
    return CLIPTextConfig(vocab_size=514, hidden_size=width, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=LENGTH,
                          projection_dim=projection or width, bos_token_id=512, eos_token_id=513, pad_token_id=513)


def louder(model, seed, gain):
    """Weights large enough that conditions show in the output: a test on a network that ignores its inputs shows nothing."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.copy_(torch.randn(p.shape, generator=g) * gain / p[0].numel() ** 0.5)
            else:
                p.add_(torch.randn(p.shape, generator=g) * 0.1)
    return model.eval()


def unet(kind):
    common = dict(sample_size=SIDE, in_channels=4, out_channels=4, layers_per_block=1, block_out_channels=(4, 8), norm_num_groups=2, attention_head_dim=2)
    if kind == "sd15":
        return UNet2DConditionModel(**common, cross_attention_dim=WIDTH, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
    return UNet2DConditionModel(**common, cross_attention_dim=2 * WIDTH, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
                                use_linear_projection=True, transformer_layers_per_block=(1, 1), addition_embed_type="text_time", addition_time_embed_dim=4, projection_class_embeddings_input_dim=6 * 4 + WIDTH)


def adapter(net, path, seed):
    """The published file's names: `image_proj.proj.N`, `ip_adapter.K.to_*`; K counts all attention layers, cross ones are odd."""
    g = torch.Generator().manual_seed(seed)
    draw = lambda *s: torch.randn(*s, generator=g) / s[-1] ** 0.5
    width = net.config.cross_attention_dim
    proj = {"proj.0.weight": draw(2 * IDENTITY, IDENTITY), "proj.0.bias": draw(2 * IDENTITY), "proj.2.weight": draw(4 * width, 2 * IDENTITY), "proj.2.bias": draw(4 * width),
            "norm.weight": torch.ones(width), "norm.bias": 0.1 * draw(width)}
    modules = dict(net.named_modules())
    ip = {}
    for k, name in enumerate(net.attn_processors):
        layer = modules[name.removesuffix(".processor")]
        for part, linear in (("q", layer.to_q), ("k", layer.to_k), ("v", layer.to_v), ("out", layer.to_out[0])):
            ip[f"{k}.to_{part}_lora.down.weight"] = draw(RANK, linear.in_features)
            ip[f"{k}.to_{part}_lora.up.weight"] = 0.5 * draw(linear.out_features, RANK)
        if not name.endswith("attn1.processor"):
            for part in "kv":
                ip[f"{k}.to_{part}_ip.weight"] = draw(layer.to_k.out_features, width)
    torch.save({"image_proj": proj, "ip_adapter": ip}, path)


def speed_lora(net, path, seed):
    from safetensors.torch import save_file
    g = torch.Generator().manual_seed(seed)
    state = {}
    for name, module in net.named_modules():
        if isinstance(module, nn.Linear) and name.endswith(("to_q", "to_v")) and "attn1" in name:
            state[f"unet.{name}.lora_A.weight"] = torch.randn(RANK, module.in_features, generator=g) / module.in_features ** 0.5
            state[f"unet.{name}.lora_B.weight"] = 0.3 * torch.randn(module.out_features, RANK, generator=g)
    save_file(state, path)


class Recogniser(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Conv2d(3, 4, 8, 8), nn.PReLU(), nn.Conv2d(4, 8, 7, 7), nn.Flatten(), nn.Linear(32, IDENTITY))

    def forward(self, x):
        return self.net(x)


def recogniser(path):
    net = louder(Recogniser(), 31, 1.4)
    torch.onnx.export(net, (torch.zeros(2, 3, 112, 112),), path, input_names=["input.1"], output_names=["embedding"], opset_version=17, dynamo=False,
                      dynamic_axes={"input.1": {0: "n"}, "embedding": {0: "n"}})


def checkpoints(kind, folder):
    """Writes all inputs of a build; returns the arguments of build.build."""
    torch.manual_seed(7)
    at = lambda *p: os.path.join(folder, *p)
    net = louder(unet(kind), 11, 0.7)
    kl = AutoencoderKL(block_out_channels=(8, 8), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, norm_num_groups=4, layers_per_block=1, sample_size=32)
    kl.register_to_config(force_upcast=kind == "sdxl")
    words = tokenizer(at("words"))
    scheduler = DDIMScheduler(**BETAS)
    if kind == "sd15":
        pipe = StableDiffusionPipeline(vae=kl, text_encoder=louder(CLIPTextModel(text_config(WIDTH)), 12, 1.0), tokenizer=words, unet=net, scheduler=scheduler,
                                       safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    else:
        pipe = StableDiffusionXLPipeline(vae=kl, text_encoder=louder(CLIPTextModel(text_config(WIDTH)), 12, 1.0), text_encoder_2=louder(CLIPTextModelWithProjection(text_config(WIDTH)), 13, 1.0),
                                         tokenizer=words, tokenizer_2=words, unet=net, scheduler=scheduler)
    pipe.save_pretrained(at("base"))
    adapter(net, at("adapter.bin"), 21)
    recogniser(at("arcface.onnx"))
    made = dict(base=at("base"), adapter=at("adapter.bin"), arcface=at("arcface.onnx"))
    if kind == "sdxl":
        speed_lora(net, at("speed.safetensors"), 22)
        tiny = louder(AutoencoderTiny(encoder_block_out_channels=(8, 8), decoder_block_out_channels=(8, 8), num_encoder_blocks=(1, 1), num_decoder_blocks=(1, 1), latent_channels=4), 14, 0.8)
        tiny.save_pretrained(at("tiny"))
        made.update(autoencoder=at("tiny"), speed_lora=at("speed.safetensors"))
    return made
