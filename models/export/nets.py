"""The networks of a big pack as the engine calls them: flat conditions in, float32 doors, any precision inside.

| network | in | out |
|---|---|---|
| denoiser | x [n,c,h,w], time [n], identity [n,D], text [n,L] | raw prediction, like x |
| encoder | pixels [n,3,s,s], -1..1 | latents [n,c,h,w], posterior mode, before scale and shift |
| decoder | latents, before scale and shift | pixels, not clamped |

Text is one row of L values: all tokens, then (SDXL) the pooled vector. The identity goes through the adapter's projector inside,
so an identity of zeros is the projector's answer to zeros: LayerNorm(MLP(0)), which is what the adapter was trained with as null.
SDXL's size conditions are constants: original and target size are the crop's, no cropping.
"""
import torch
import torch.nn as nn


class Denoiser(nn.Module):
    def __init__(self, unet, tokens, crop_px, half):
        super().__init__()
        self.unet = unet.half() if half else unet.float()
        self.dtype = torch.float16 if half else torch.float32
        self.tokens, self.width = tokens, unet.config.cross_attention_dim
        self.pooled = unet.config.addition_embed_type == "text_time"
        self.crop_px = crop_px

    def forward(self, x, time, identity, text):
        d, length = self.dtype, self.tokens * self.width
        hidden = text[:, :length].reshape(-1, self.tokens, self.width).to(d)
        added = {"image_embeds": [identity.to(d).unsqueeze(1)]}
        if self.pooled:
            s = float(self.crop_px)
            added["text_embeds"] = text[:, length:].to(d)
            added["time_ids"] = torch.tensor([[s, s, 0.0, 0.0, s, s]], dtype=d).expand(x.shape[0], 6)
        return self.unet(x.to(d), time, encoder_hidden_states=hidden, added_cond_kwargs=added, return_dict=False)[0].float()


class Encoder(nn.Module):
    def __init__(self, vae, half):
        super().__init__()
        self.vae = vae.half() if half else vae.float()
        self.dtype = torch.float16 if half else torch.float32

    def forward(self, pixels):
        out = self.vae.encode(pixels.to(self.dtype))
        # A tiny autoencoder has no posterior; of the others the mode is taken, because a sample would flicker.
        latents = out.latents if hasattr(out, "latents") else out.latent_dist.mode()
        return latents.float()


class Decoder(nn.Module):
    def __init__(self, vae, half):
        super().__init__()
        self.vae = vae.half() if half else vae.float()
        self.dtype = torch.float16 if half else torch.float32

    def forward(self, latents):
        return self.vae.decode(latents.to(self.dtype), return_dict=False)[0].float()


def scale_and_shift(vae):
    """latent = (value - shift) * scale."""
    return float(vae.config.scaling_factor), float(getattr(vae.config, "shift_factor", None) or 0.0)


def autoencoder_may_be_half(vae):
    return not getattr(vae.config, "force_upcast", False)
