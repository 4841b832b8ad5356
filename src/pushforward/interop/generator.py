"""A pipeline of diffusers as a model in the user's own form of data, used as ours are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from pushforward.data.dataset import Batch
from pushforward.data.format import Format
from pushforward.data.labels import Labels
from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.guidance import guided
from pushforward.denoisers.wrappers import clipped
from pushforward.errors import UserError
from pushforward.interop.pipeline import Pipeline
from pushforward.latent.foreign import Foreign
from pushforward.models.denoising import DiffusionGenerator, LatentGenerator
from pushforward.models.family import Denoising
from pushforward.models.latent import Latent
from pushforward.numerics.random import Draws
from pushforward.samplers.default import USUAL_EVALUATIONS, default_sampler


class OfPipeline(Denoising):
    """The denoiser of a pipeline as a family: of pictures in [−1, 1], or of latents. It is not trained here."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__(pipeline.network.shape, pipeline.network.num_classes)
        self.network, self.path = pipeline.network, pipeline.schedule.path
        self.prediction, self.pipeline = pipeline.schedule.prediction, pipeline

    @property
    def conditions(self) -> tuple[str, ...]:
        """What the network can be told beside the class."""
        return tuple(name for name in self.pipeline.network.accepts if name != "label")

    def denoiser(self) -> Denoiser:
        return self.pipeline.denoiser

    def objectives(self) -> Mapping[str, Iterable[nn.Parameter]]:
        return {}

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        raise UserError("a pipeline that was read is not trained: train its network as a TableNetwork, pf.fit(…)")

    def draw(self, draws: Draws, labels: Tensor | None = None) -> Tensor:
        start = self.path.prior(draws.at("prior").normal(self.shape))
        sampler = default_sampler(self.path, USUAL_EVALUATIONS, self.prediction.sigma_data)
        return sampler.sample(self.conditioned(labels), start, USUAL_EVALUATIONS, draws)


@dataclass(frozen=True, eq=False)
class PipelineGenerator(DiffusionGenerator):
    """A pipeline in the user's form.

    `nothing` is what stands for no condition, by name, (1, …) each, which guidance needs, such as the embedding of an
    empty text. Of a DiT no class is the one after the last.
    """

    nothing: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def tells(self) -> tuple[str, ...]:
        assert isinstance(self.model, OfPipeline)
        return self.model.conditions

    def conditioned(
        self,
        labels: Tensor | None,
        guidance: float = 1.0,
        told: Mapping[str, Tensor] | None = None,
        *,
        items: int | None = None,
    ) -> Denoiser:
        device, given = self.model.device, dict(self.bound(told, items))
        if labels is not None:
            given["label"] = labels.to(device)
        count = items if not given else len(next(iter(given.values())))
        if "context" in self.tells and "context" not in given:
            if count is None or "context" not in self.nothing:
                raise UserError("this network attends to tokens: bind some, given(context=…), or say what nothing is")
            given["context"] = self._nothing("context", count)
        bound = self.model.denoiser()
        bound = bound.given(**given) if given else bound
        if guidance == 1.0:
            return bound
        if not given or count is None:
            raise UserError("guidance needs a condition to be guided to; none was given")
        free = {name: v if name in self.held else self._nothing(name, count) for name, v in given.items()}
        return guided(bound, self.model.denoiser().given(**free), guidance, self.interval)

    def _nothing(self, name: str, count: int) -> Tensor:
        device, network = self.model.device, self.model.network
        if name in self.nothing:
            return self.nothing[name].to(device).expand(count, *self.nothing[name].shape[1:])
        if name == "label" and str(getattr(network, "kind", "")).endswith("Transformer2DModel"):
            return torch.full((count,), self.model.num_classes, device=device)
        raise UserError(f"guidance needs what stands for no {name}: give it, nothing={{{name!r}: …}}")


def as_generator(
    pipeline: Pipeline, form: Format, *, nothing: Mapping[str, Tensor] | None = None
) -> DiffusionGenerator | LatentGenerator:
    """The pipeline as what `pf.load(…).generator` is: it samples in the user's form, restores, and decodes brains.

    `form` is that of the user's pictures (`pf.dataset(pictures).format`), which must be of the pipeline's shape. Its
    classes are numbers, as the pipeline has them. Raises UserError for pictures of another shape.
    """
    found = OfPipeline(pipeline)
    latent = None if pipeline.first_stage is None else _latent(pipeline, found)
    shape = found.shape if latent is None else latent.shape
    if form.shape != shape:
        raise UserError(f"the pictures have the shape {form.shape}, and the pipeline makes {shape}: resize them")
    names = tuple(str(i) for i in range(found.num_classes))
    form = replace(form, labels=Labels(names, True) if names else None)
    clip = pipeline.schedule.clip if latent is None else None
    around = None if clip is None else partial(clipped, low=-clip, high=clip)
    inner = PipelineGenerator(found, form, around=around, nothing=dict(nothing or {}))
    return inner if latent is None else LatentGenerator(latent, form, inner)


def _latent(pipeline: Pipeline, inner: OfPipeline) -> Latent:
    """In the units in which the pipeline keeps its latents."""
    assert pipeline.first_stage is not None
    with torch.no_grad():
        blank = pipeline.first_stage.decode(torch.zeros(1, *inner.shape))
    return Latent(Foreign(pipeline.first_stage, blank.shape[1:]), inner)
