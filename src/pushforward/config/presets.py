"""Presets: named starting points of a configuration, as the few entries in which they differ from the defaults."""

from __future__ import annotations

from typing import Any

from pushforward.errors import UserError

PRESETS: dict[str, dict[str, Any]] = {
    "edm": {},
    "ddpm": {"model": {"path": {"kind": "ddpm"}, "prediction": "noise", "times": "uniform"}},
    "cosine-v": {"model": {"path": {"kind": "cosine"}, "prediction": "v", "times": "uniform"}},
    "vp": {"model": {"path": {"kind": "vp"}, "prediction": "noise", "times": "uniform"}},
    "ncsn": {"model": {"path": {"kind": "ve"}, "prediction": "score", "times": "uniform"}},
    "flow-matching": {"model": {"path": {"kind": "straight"}, "prediction": "flow", "times": "logit-normal"}},
    "flow-matching-ot": {
        "model": {
            "path": {"kind": "straight"},
            "prediction": "flow",
            "times": "logit-normal",
            "coupling": "assignment",
        }
    },
    "flow": {"model": {"family": "flow"}},
    "vae": {"model": {"family": "vae"}, "training": {"clip_norm": None}},
    "gan": {
        "model": {"family": "gan"},
        "training": {"betas": (0.0, 0.99), "clip_norm": None, "ema_lengths": (0.05,)},
    },
    "energy": {"model": {"family": "energy"}},
    "discrete": {"model": {"family": "discrete"}},
    "mixed": {"model": {"family": "mixed"}},
    "latent": {"model": {"family": "latent"}},
    "latent-flow": {"model": {"family": "latent", "inner": {"family": "flow"}}},
    "latent-discrete": {"model": {"family": "latent", "first_stage": {"kind": "vq"}, "inner": {"family": "discrete"}}},
    "latent-flow-matching": {
        "model": {
            "family": "latent",
            "inner": {
                "family": "diffusion",
                "path": {"kind": "straight"},
                "prediction": "flow",
                "times": "logit-normal",
            },
        }
    },
    "card": {"model": {"family": "card"}, "training": {"weight_decay": 1e-2, "steps": 3000}},
    "card-published": {
        "model": {"family": "card", "setting": "published"},
        "training": {
            "batch_size": 32,
            "learning_rate": 1e-3,
            "warmup_steps": 0,
            "schedule": "constant",
            "betas": (0.9, 0.999),
            "amsgrad": True,
            "ema_lengths": (),
            "ema_decays": (0.9999,),
        },
    },
}
USUAL = {
    "diffusion": "edm",
    "flow": "flow",
    "vae": "vae",
    "gan": "gan",
    "energy": "energy",
    "discrete": "discrete",
    "mixed": "mixed",
    "latent": "latent",
}
"""The preset of each family that makes items, where no other is asked for."""
GENERAL = ("diffusion", "flow", "vae", "gan", "energy")
"""The families that learn data of numbers of any kind, and so can be compared on them."""
PREDICTIVE = {"card": "card"}
"""Of the families that predict a response, likewise."""


def presets_of(family: str) -> list[str]:
    """The names of a family's presets."""
    return [name for name, entries in PRESETS.items() if entries.get("model", {}).get("family", "diffusion") == family]


def preset(name: str | None, family: str | None = None) -> dict[str, Any]:
    """The entries of a preset; of the usual one of a family, `diffusion` by default, where no name is given.

    Raises UserError for an unknown name, and for one of another family.
    """
    if name is None:
        return PRESETS[
            (USUAL | PREDICTIVE).get(family or "diffusion", "edm")
        ]  # a family that there is not is refused with the rest
    if name not in PRESETS:
        raise UserError(f"there is no preset {name!r}; choose one of {', '.join(PRESETS)}")
    if family is not None and name not in presets_of(family):
        possible = ", ".join(presets_of(family)) or "none"
        raise UserError(f"the preset {name} is not one of the family {family} (its presets: {possible})")
    return PRESETS[name]
