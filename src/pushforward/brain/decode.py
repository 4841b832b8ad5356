"""Decoding a recording: learn within the training trials, draw pictures for test trials, score them with controls."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from pushforward.brain.components import Components
from pushforward.brain.controls import permuted, permuted_ridge, retrieved, training_mean
from pushforward.brain.decoder import Decoder, fit_decoder
from pushforward.brain.prior import Prior, check_stimuli
from pushforward.brain.ridge import PENALTIES
from pushforward.brain.scores import Null, Score, null, score
from pushforward.brain.strength import STRENGTHS, Choice, choose_strength
from pushforward.brain.trials import Recording, Trials
from pushforward.brain.ways import Exact, Noised, Task, Way
from pushforward.errors import UserError
from pushforward.metrics.similarity import Window, fitting_window
from pushforward.samplers.default import Sampler, default_sampler

Note = Callable[[str], None]


@dataclass(frozen=True)
class Settings:
    """How to decode.

    `strength` None: chosen within the training trials; `exact`: draws of p(picture | ridge) instead, without strength.
    `latent_regions` and `condition_regions` name the voxels of each map; none: all of them.
    """

    strength: float | None = None
    exact: bool = False
    samples: int = 20
    evaluations: int | None = None
    components: int | None = None
    guidance: float = 1.0
    latent_regions: tuple[str, ...] = ()
    condition_regions: tuple[str, ...] = ()
    penalties: tuple[float, ...] = PENALTIES
    strengths: tuple[float, ...] = STRENGTHS
    permutations: int = 20
    seed: int = 0
    at_once: int = 256

    def __post_init__(self) -> None:
        if self.samples < 2:
            raise UserError(f"an uncertainty needs at least two samples of each trial; got {self.samples}")
        if self.permutations < 0 or self.at_once < 1 or (self.evaluations is not None and self.evaluations < 1):
            raise UserError(
                "evaluations and the samples computed at once are at least 1, permutations at least 0; got "
                f"{self.evaluations}, {self.at_once} and {self.permutations}"
            )
        if not math.isfinite(self.guidance):
            raise UserError(f"the weight of guidance must be a finite number, 1 for none; got {self.guidance}")
        if self.strength is not None and not 0 < self.strength <= 1:
            raise UserError(f"the strength of the noise lies in (0, 1]: 1 forgets the first guess; got {self.strength}")
        if self.exact and self.strength is not None:
            raise UserError("exact draws have no strength: give one or the other")


@dataclass(frozen=True, eq=False)
class Learned:
    """What training trials have taught: the decoder and the way from it to draws, with how its strength was chosen."""

    decoder: Decoder
    way: Way
    choice: Choice | None
    guidance: float
    at_once: int

    def task(self, prior: Prior, voxels: np.ndarray) -> Task:
        """What it says of these responses."""
        said = self.decoder.components_of(voxels)
        classes, told = self.decoder.classes(voxels), self.decoder.conditions(voxels)
        return Task(prior, self.decoder, said, classes, self.guidance, self.at_once, told)


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pictures of the test trials, real numbers in the user's units, channels first.

    `samples` (S, n, …), their `mean` and `deviation` (n, …), `ridge` (n, …) what ridge alone says; `classes` (n,) and
    `told` (n, …) the decoded conditions.
    """

    samples: np.ndarray
    ridge: np.ndarray
    classes: np.ndarray | None
    told: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def mean(self) -> np.ndarray:
        return self.samples.mean(0)

    @property
    def deviation(self) -> np.ndarray:
        """Per pixel, what the model is unsure of."""
        return self.samples.std(0, ddof=1)


@dataclass(frozen=True, eq=False)
class Study:
    """Everything about a recording: what was learned, decoded, and how it scores beside its controls.

    `scores` by name; `null` is ridge alone on training trials in many other orders; `shared` counts test trials whose
    picture is also a training stimulus.
    """

    learned: Learned
    decoded: Decoded
    truth: np.ndarray
    scores: dict[str, Score]
    null: Null
    window: Window | None
    shared: int
    recording: Recording
    prior: Prior
    settings: Settings


def learn(
    prior: Prior, trials: Trials, recording: Recording, components: Components, settings: Settings, note: Note
) -> Learned:
    """Fit the maps and choose the strength, on these training trials alone."""
    decoder = fit_decoder(
        prior,
        components,
        trials,
        for_latent=recording.voxels_of(settings.latent_regions),
        for_condition=recording.voxels_of(settings.condition_regions),
        penalties=settings.penalties,
        progress=note,
    )
    guidance = settings.guidance
    if guidance != 1.0 and not decoder.conditional:
        raise UserError(
            f"guidance {guidance:g} needs a condition that is decoded, and there is none: give the trials labels or "
            "conditions that the prior was trained with, or leave guidance out"
        )
    if settings.exact:
        evaluations = settings.evaluations or Exact().evaluations
        return Learned(decoder, Exact(evaluations), None, guidance, settings.at_once)
    evaluations, choice, strength = settings.evaluations or 20, None, settings.strength
    sampler = _sampler(prior, evaluations)
    if strength is None:
        note("choosing the strength on held-out training trials")
        latents = prior.latents(check_stimuli(trials.stimuli, prior.form, f"the stimuli of {trials.what}"))
        choice = choose_strength(
            prior,
            decoder,
            latents,
            sampler,
            evaluations,
            strengths=settings.strengths,
            guidance=guidance,
            seed=settings.seed,
        )
        strength = choice.best
    return Learned(decoder, Noised(strength, sampler, evaluations), choice, guidance, settings.at_once)


def decode(prior: Prior, learned: Learned, voxels: np.ndarray, settings: Settings) -> Decoded:
    """Draws for responses (n, p); only they are needed, no stimulus."""
    task = learned.task(prior, voxels)
    drawn = learned.way(task, settings.samples, settings.seed, None)
    values = prior.values(drawn.flatten(0, 1))
    ridge = prior.values(learned.decoder.components.decode(task.said))
    classes = None if task.classes is None else task.classes.numpy()
    told = {name: value.numpy() for name, value in task.told.items()}
    return Decoded(values.reshape(*drawn.shape[:2], *values.shape[1:]), ridge, classes, told)


def study(
    prior: Prior,
    items: np.ndarray,
    recording: Recording,
    settings: Settings | None = None,
    *,
    note: Note = lambda _: None,
) -> Study:
    """Decode a recording with a prior whose own training items (m, *item_shape) are `items`, and score it.

    Raises UserError for stimuli that are not of the prior's form, unknown regions and labels.
    """
    settings = settings or Settings()
    test = check_stimuli(recording.test.stimuli, prior.form, f"the stimuli of {recording.test.what}")
    components = Components.of(prior.latents(items), settings.components)
    learned = learn(prior, recording.train, recording, components, settings, note)
    note(f"drawing {settings.samples} pictures for each of {len(test)} test trials")
    decoded = decode(prior, learned, recording.test.voxels, settings)
    note("the control: the same with the training responses in another order")
    shuffled = permuted(recording.train, settings.seed)
    misled = learn(prior, shuffled, recording, components, settings, lambda _: None)
    astray = decode(prior, misled, recording.test.voxels, settings)
    truth = prior.truth(test)
    train = prior.truth(check_stimuli(recording.train.stimuli, prior.form, "the training stimuli"))
    found = {
        "mean of the samples": decoded.mean,
        "samples, one by one": decoded.samples,
        "ridge alone": decoded.ridge,
        "mean of the ten nearest pictures of the prior": retrieved(decoded.ridge, prior.truth(items)),
        "nearest picture of the prior": retrieved(decoded.ridge, prior.truth(items), 1),
        "mean of the training stimuli": training_mean(train, len(truth)),
        "permuted trials, mean of the samples": astray.mean,
    }
    window = fitting_window(*truth.shape[2:]) if truth.ndim == 4 and min(truth.shape[2:]) >= 3 else None
    scores = {name: score(values, truth, _span(prior), window) for name, values in found.items()}
    chance = null(_permuted_pictures(prior, learned.decoder, recording, settings), decoded.ridge, truth)
    return Study(learned, decoded, truth, scores, chance, window, recording.shared, recording, prior, settings)


def _permuted_pictures(
    prior: Prior, decoder: Decoder, recording: Recording, settings: Settings
) -> Iterator[np.ndarray]:
    """What ridge alone says of the test trials (n, …) after training on trials in other orders."""
    voxels = (recording.train.voxels[:, decoder.for_latent], recording.test.voxels[:, decoder.for_latent])
    groups, orders = recording.train.groups, settings.permutations
    for said in permuted_ridge(*voxels, decoder.truth, groups, orders, settings.penalties, settings.seed):
        yield prior.values(decoder.components.decode(said))


def _sampler(prior: Prior, evaluations: int) -> Sampler:
    model = prior.generator.model
    return default_sampler(model.path, evaluations, model.prediction.sigma_data)


def _span(prior: Prior) -> float:
    """The range of the pixels, or twice the largest unit of columns."""
    return 2 * float(np.max(np.asarray(prior.form.scale)))
