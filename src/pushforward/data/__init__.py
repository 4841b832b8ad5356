"""Data: sources, checks, the format that returns samples in the user's own form, and augmentations."""

from pushforward.data.dataset import Batch, Dataset, Split
from pushforward.data.format import Format, Kind
from pushforward.data.save import save_samples
from pushforward.data.sources import load

__all__ = ["Batch", "Dataset", "Format", "Kind", "Split", "load", "save_samples"]
