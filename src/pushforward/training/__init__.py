"""The training engine: exact to the bit over any interruption, on any number of processes."""

from pushforward.training.checkpoint import Checkpoint, initialise_from, load_weights, read_checkpoint
from pushforward.training.folder import find_checkpoint
from pushforward.training.loop import Outcome, fit
from pushforward.training.observers import Best, Event, JsonLines, Observer, Preview, TensorBoard
from pushforward.training.progress import ProgressBar
from pushforward.training.recipe import Precision, Recipe
from pushforward.training.schedule import Constant, Cosine
from pushforward.training.step import Items, Trainable

__all__ = [
    "Best",
    "Checkpoint",
    "Constant",
    "Cosine",
    "Event",
    "Items",
    "JsonLines",
    "Observer",
    "Outcome",
    "Precision",
    "Preview",
    "ProgressBar",
    "Recipe",
    "TensorBoard",
    "Trainable",
    "find_checkpoint",
    "fit",
    "initialise_from",
    "load_weights",
    "read_checkpoint",
]
