"""Doors to other libraries: models of diffusers in and out, functions as denoisers, our samplers as their schedulers.

Nothing that is read is unpickled or run. diffusers itself is needed for its networks alone, and imported when one is
met; the rest works without it.
"""

from pushforward.interop.callables import OfFunction, OfSigma, as_sigma
from pushforward.interop.export import scheduler_config, write_pipeline
from pushforward.interop.generator import OfPipeline, PipelineGenerator, as_generator
from pushforward.interop.modules import Autoencoder, DiffusersNetwork, TableNetwork
from pushforward.interop.pipeline import Pipeline, read_autoencoder, read_network, read_pipeline
from pushforward.interop.published import ClippedDDIM, DiffusersGrid, published_sampler
from pushforward.interop.schedule import NegativeEDM, RawScore, Schedule, Unscaled, read_schedule
from pushforward.interop.scheduler import Scheduler

__all__ = [
    "Autoencoder",
    "ClippedDDIM",
    "DiffusersGrid",
    "DiffusersNetwork",
    "NegativeEDM",
    "OfFunction",
    "OfPipeline",
    "OfSigma",
    "Pipeline",
    "PipelineGenerator",
    "RawScore",
    "Schedule",
    "Scheduler",
    "TableNetwork",
    "Unscaled",
    "as_generator",
    "as_sigma",
    "published_sampler",
    "read_autoencoder",
    "read_network",
    "read_pipeline",
    "read_schedule",
    "scheduler_config",
    "write_pipeline",
]
