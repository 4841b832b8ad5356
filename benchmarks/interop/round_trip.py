"""A pipeline of diffusers read here, and one written here run there: the largest difference of any pixel in [0, 1].

A randomly initialised UNet2DModel, DDIM with 20 steps, four pictures, for several schedulers' configurations; then our
default sampler as the scheduler of a diffusers pipeline beside our own loop. Needs diffusers.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import diffusers
import torch

from pushforward.denoisers import NetworkDenoiser
from pushforward.interop import Scheduler, read_pipeline, write_pipeline
from pushforward.numerics.random import Draws

CONFIGS = {
    "defaults (linear β, clipped)": {},
    "scaled linear, not clipped": {"beta_schedule": "scaled_linear", "clip_sample": False},
    "v, zero terminal SNR, trailing": {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
    },
    "data, cosine": {"prediction_type": "sample", "beta_schedule": "squaredcos_cap_v2"},
    "offset 1, to the first β": {"set_alpha_to_one": False, "steps_offset": 1, "clip_sample": False},
}
BOUND = 1e-4


def network(width: int, size: int) -> torch.nn.Module:
    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownBlock2D", "AttnDownBlock2D"), "up_block_types": ("AttnUpBlock2D", "UpBlock2D")}
    net = diffusers.UNet2DModel(
        sample_size=size, block_out_channels=(width, 2 * width), norm_num_groups=8, layers_per_block=1, **blocks
    )
    return net.eval().requires_grad_(False)


def theirs(pipe, steps: int) -> torch.Tensor:
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    found = pipe(batch_size=4, generator=generator, num_inference_steps=steps, output_type="np").images
    return torch.from_numpy(found).permute(0, 3, 1, 2)


def shown(x: torch.Tensor) -> torch.Tensor:
    return (x / 2 + 0.5).clamp(0, 1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--size", type=int, default=16)
    given = parser.parse_args()
    net, worst = network(given.width, given.size), 0.0
    noise = torch.randn(4, 3, given.size, given.size, generator=torch.Generator().manual_seed(0))
    print(f"diffusers {diffusers.__version__}, {sum(p.numel() for p in net.parameters()):,} parameters\n")
    print("| pipeline | DDIM, 20 steps | deviation of the pictures |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as home:
        for number, (name, config) in enumerate(CONFIGS.items()):
            pipe = diffusers.DDIMPipeline(net, diffusers.DDIMScheduler(**config))
            pipe.save_pretrained(Path(home) / f"{number}")
            expected, read = theirs(pipe, 20), read_pipeline(Path(home) / f"{number}")
            away = float(
                (shown(read.sample(4, steps=20, sampler=read.published(), start=noise)) - expected).abs().max()
            )
            print(f"| read here: {name} | {away:.1e} | {float(expected.std()):.2f} |")
            worst = max(worst, away)
            if number == 1:
                s = read.schedule
                denoiser = NetworkDenoiser(s.path, read.network, s.prediction, s.time)
                back = theirs(diffusers.DiffusionPipeline.from_pretrained(write_pipeline(denoiser, f"{home}/back")), 20)
                ours = shown(read.sample(4, steps=20, sampler=read.published(), start=noise))
                away = float((ours - back).abs().max())
                print(f"| written here, run there: {name} | {away:.1e} | {float(back.std()):.2f} |")
                worst = max(worst, away)
                pipe = diffusers.DDPMPipeline(net, diffusers.DDPMScheduler(**config))
                pipe.scheduler = Scheduler.of(pipe.scheduler.config)
                found = theirs(pipe, 20)
                rule = pipe.scheduler.rule(20)
                mine = shown(rule.sample(denoiser, noise, 20, Draws.of(0, range(4))))
                away = float((found - mine).abs().max())
                print(f"| our default sampler as scheduler there, and here | {away:.1e} | {float(found.std()):.2f} |")
                worst = max(worst, away)
    print(f"\n{'ok' if worst <= BOUND else 'MISS'}  largest difference {worst:.1e} within {BOUND:g}")
    return 0 if worst <= BOUND else 1


if __name__ == "__main__":
    raise SystemExit(main())
