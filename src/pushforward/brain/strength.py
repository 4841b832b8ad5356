"""How strongly to noise what ridge says: chosen by a proper score of what is drawn for held-out training trials."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pushforward.brain.decoder import Decoder
from pushforward.brain.prior import Prior
from pushforward.brain.ways import Noised, Task
from pushforward.errors import UserError
from pushforward.numerics.random import key, permutation
from pushforward.posterior import Posterior, energy_score
from pushforward.samplers.default import Sampler

STRENGTHS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
MOST, DRAWS = 48, 4


@dataclass(frozen=True)
class Choice:
    """The strengths that were tried, the energy score of each, lower is better, and the best."""

    strengths: tuple[float, ...]
    scores: tuple[float, ...]

    @property
    def best(self) -> float:
        return self.strengths[int(np.argmin(self.scores))]


def held_out_task(
    prior: Prior, decoder: Decoder, guidance: float, seed: int, most: int = MOST
) -> tuple[Task, np.ndarray]:
    """Up to `most` training trials as they were decoded without their stimulus, and which they are."""
    count = len(decoder.truth)
    rows = permutation(key(seed, "strength"), count)[:most].sort().values.numpy()
    classes = decoder.held_out_classes()
    told = {name: values[rows] for name, values in decoder.held_out_conditions().items()}
    said = decoder.latent.held_out[rows]
    task = Task(prior, decoder, said, None if classes is None else classes[rows], guidance, told=told)
    return task, rows


def choose_strength(
    prior: Prior,
    decoder: Decoder,
    latents: Tensor,
    sampler: Sampler,
    evaluations: int,
    *,
    strengths: Sequence[float] = STRENGTHS,
    guidance: float = 1.0,
    seed: int = 0,
) -> Choice:
    """The strength whose draws have the least E‖x − x*‖ − ½E‖x − x′‖ (Gneiting & Raftery 2007), x* the true latents.

    A score that is least for the true posterior: sharp draws that are wrong and blurred ones both lose. `latents`
    (n, *latent) are those of all training stimuli; test trials are not seen. Raises UserError where none is given.
    """
    if not strengths:
        raise UserError("there is no strength to choose from")
    task, rows = held_out_task(prior, decoder, guidance, seed)
    truth = latents[torch.from_numpy(rows)]
    scores = []
    for strength in strengths:
        drawn = Noised(strength, sampler, evaluations)(replace(task), DRAWS, seed)
        scores.append(float(energy_score(Posterior(drawn, 0.0), truth).mean()))
    return Choice(tuple(strengths), tuple(scores))
