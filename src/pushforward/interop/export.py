"""Our models as folders of diffusers, where their architecture is one of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pushforward.denoisers.denoiser import Denoiser, NetworkDenoiser
from pushforward.denoisers.precondition import (
    DataPrediction,
    EDMPrediction,
    FlowPrediction,
    NoisePrediction,
    Prediction,
    TableIndex,
    VPrediction,
    log_noise,
)
from pushforward.errors import UserError
from pushforward.interop.modules import Autoencoder, DiffusersNetwork, TableNetwork
from pushforward.interop.schedule import Unscaled
from pushforward.paths.gaussian import GaussianPath
from pushforward.paths.processes import EDM, Straight
from pushforward.paths.table import Table
from pushforward.training.checkpoint import tensors_as_bytes
from pushforward.training.storage import discard, sync_folder, write_file

_WEIGHTS = "diffusion_pytorch_model.safetensors"
_NAMES: dict[type[Prediction], str] = {
    NoisePrediction: "epsilon",
    DataPrediction: "sample",
    VPrediction: "v_prediction",
}


def write_pipeline(denoiser: Denoiser, out: str | Path, first_stage: Autoencoder | None = None) -> Path:
    """A folder that `diffusers.DiffusionPipeline.from_pretrained` reads and runs, written at once or not at all.

    The network must be one of diffusers (read by `read_pipeline`, or trained here as a `TableNetwork`), the path and
    prediction such as one of its schedulers has. Raises UserError, saying which, where they are not, and where the
    folder is there already.
    """
    out = Path(out)
    if not isinstance(denoiser, NetworkDenoiser):
        raise UserError(f"what is exported is a network's denoiser; got a {type(denoiser).__name__}")
    network = denoiser.network
    inner = network.inner if isinstance(network, TableNetwork) else network
    if not isinstance(inner, DiffusersNetwork):
        raise UserError(
            f"diffusers has no architecture like {type(network).__name__}: train one of its own, "
            "pf.fit(data, out, network=pushforward.interop.TableNetwork(diffusers.UNet2DModel(…), path, prediction))"
        )
    if out.exists():
        raise UserError(f"{out} is there already: give the name of a new folder")
    scheduler = scheduler_config(denoiser)
    part = "transformer" if inner.kind.endswith("Transformer2DModel") else "unet"
    index: dict[str, Any] = {
        "_class_name": _pipeline_name(inner, first_stage, scheduler),
        part: ["diffusers", inner.kind],
    }
    index["scheduler"] = ["diffusers", scheduler["_class_name"]]
    files = {f"{part}/{name}": data for name, data in _component(inner.module).items()}
    files["scheduler/scheduler_config.json"] = _json(scheduler)
    if first_stage is not None:
        index["vae"] = ["diffusers", type(first_stage.module).__name__]
        files |= {f"vae/{name}": data for name, data in _component(first_stage.module).items()}
    files["model_index.json"] = _json(index)
    _write(out, files)
    return out


def scheduler_config(denoiser: NetworkDenoiser) -> dict[str, Any]:
    """The configuration of the diffusers scheduler with this path and prediction. Raises UserError if there is none."""
    path, prediction = denoiser.path, denoiser.prediction
    indexed = isinstance(denoiser.time, TableIndex) or isinstance(denoiser.network, TableNetwork)
    plain = prediction.inner if isinstance(prediction, Unscaled) else prediction
    unscaled = (
        isinstance(prediction, Unscaled) or isinstance(denoiser.network, TableNetwork) or prediction.sigma_data == 1
    )
    if isinstance(path, Table) and indexed and unscaled and type(plain) in _NAMES and _preserves(path):
        return {
            "_class_name": "DDIMScheduler",
            "num_train_timesteps": len(path),
            "trained_betas": path.betas.tolist(),
            "prediction_type": _NAMES[type(plain)],
            "clip_sample": False,
            "set_alpha_to_one": True,
            "timestep_spacing": "leading",
            "steps_offset": 0,
        }
    if isinstance(path, EDM) and type(prediction) is EDMPrediction and denoiser.time is log_noise:
        return {
            "_class_name": "EDMEulerScheduler",
            "sigma_min": path.sigma_min,
            "sigma_max": path.sigma_max,
            "sigma_data": prediction.sigma_data,
            "prediction_type": "epsilon",
        }
    if isinstance(path, Straight) and isinstance(prediction, Unscaled) and isinstance(plain, FlowPrediction):
        levels = round(float(torch.as_tensor(denoiser.time(path.level(1.0)))))
        return {"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": levels, "shift": 1.0}
    raise UserError(
        f"diffusers has no scheduler for {type(plain).__name__} on {type(path).__name__} as this network is called: "
        "tables of β with noise, data or v and an index as time, EDM, and flow matching on x_t itself can be written"
    )


def _preserves(path: GaussianPath) -> bool:
    assert isinstance(path, Table)
    return bool(((path.alphas**2 + path.sigmas**2 - 1).abs() < 1e-6).all())


def _pipeline_name(network: DiffusersNetwork, first_stage: Autoencoder | None, scheduler: dict[str, Any]) -> str:
    if network.kind == "UNet2DModel" and first_stage is None:
        return "DDIMPipeline" if scheduler["_class_name"] == "DDIMScheduler" else "DDPMPipeline"
    if network.kind == "DiTTransformer2DModel" and first_stage is not None:
        return "DiTPipeline"
    if network.kind == "UNet2DModel":
        return "LDMPipeline"
    raise UserError(
        f"diffusers has no pipeline of a {network.kind} {'without' if first_stage is None else 'with'} an autoencoder "
        "alone: give its other components to a pipeline there"
    )


def _component(module: nn.Module) -> dict[str, bytes]:
    described = json.loads(module.to_json_string())  # type: ignore[operator]
    return {"config.json": _json(described), _WEIGHTS: tensors_as_bytes(module.state_dict())}


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True) + "\n").encode()


def _write(out: Path, files: dict[str, bytes]) -> None:
    """All files under a temporary name, then the folder renamed: it is there whole, or not at all."""
    temporary = out.with_name(f".tmp-{out.name}")
    discard(temporary)
    try:
        for name, data in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            write_file(temporary / name, data)
        temporary.rename(out)
        sync_folder(out.parent)
    except OSError:
        discard(temporary)
        raise
