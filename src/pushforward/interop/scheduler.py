"""Our samplers as a scheduler of diffusers: `pipe.scheduler = Scheduler.of(pipe.scheduler.config)`.

A pipeline calls its network itself and hands the answer to `step`, while our steps call a denoiser. Because steps are
pure, one can be run again with the answers that are known so far: where it asks for one that is not, that question is
what the pipeline is handed next. So every rule with a fixed number of evaluations works, several per step too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from pushforward.denoisers.denoiser import Denoiser
from pushforward.denoisers.estimate import Estimate
from pushforward.errors import UserError
from pushforward.interop.schedule import Schedule, read_schedule
from pushforward.numerics.broadcast import expand
from pushforward.numerics.random import Draws
from pushforward.paths.gaussian import GaussianPath, Level
from pushforward.samplers.default import Sampler, default_sampler
from pushforward.samplers.step import move_is_random, steps_for

Rule = Callable[[int], Sampler]
"""Evaluations -> the sampler for so many."""


class Config(dict[str, Any]):
    """A configuration that pipelines read by item and by attribute."""

    def __getattr__(self, name: str) -> Any:
        if name in self:
            return self[name]
        raise AttributeError(name)


class Stepped(NamedTuple):
    """What `step` returns, as diffusers' own do."""

    prev_sample: Tensor


class _Wanted(Exception):
    """A step asked for an answer that is not known yet."""

    def __init__(self, x: Tensor, level: Level) -> None:
        super().__init__()
        self.x, self.level = x, level


@dataclass(frozen=True, eq=False)
class _Known(Denoiser):
    """Answers in the order in which they were given; asks by `_Wanted` for the next."""

    path: GaussianPath
    answers: list[Estimate]
    asked: list[int]

    def estimate(self, x: Tensor, level: Level) -> Estimate:
        number = self.asked[0]
        self.asked[0] += 1
        if number == len(self.answers):
            raise _Wanted(x, level)
        return self.answers[number]


class Scheduler:
    """A sampler of ours with the interface of diffusers' schedulers.

    Args:
        schedule: of the model (`read_schedule` makes one of a scheduler's configuration).
        rule: evaluations -> a sampler; ours by default. `num_inference_steps` are evaluations of the network.
        seed: of steps that draw noise, where no generator is given to `step`.
    """

    order = 1

    def __init__(self, schedule: Schedule, rule: Rule | None = None, seed: int = 0) -> None:
        self.schedule, self.seed = schedule, seed
        self.rule: Rule = rule or (lambda n: default_sampler(schedule.path, n, schedule.prediction.sigma_data))
        self.config = Config(schedule.config)
        self.num_inference_steps: int | None = None
        self.timesteps = torch.arange(int(self.config.get("num_train_timesteps", 1000)) - 1, -1, -1)
        self.set_begin_index(0)

    @staticmethod
    def of(config: Mapping[str, Any], rule: Rule | None = None, seed: int = 0) -> Scheduler:
        """In place of the scheduler with this configuration."""
        return Scheduler(read_schedule({"_class_name": _class_of(config), **dict(config)}), rule, seed)

    def __len__(self) -> int:
        return int(self.config.get("num_train_timesteps", 1000))

    @property
    def init_noise_sigma(self) -> float:
        """What standard normal noise is multiplied with to begin."""
        path = self.schedule.path
        return float(path.level(path.t_max).sigma)

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str | None = None) -> None:
        """Plan so many evaluations. Raises UserError for rules that decide on the way how many they need."""
        path, sampler = self.schedule.path, self.rule(num_inference_steps)
        steps = steps_for(sampler.step, path, sampler.grid, num_inference_steps, sampler.finish)
        self._sampler, self._levels = sampler, sampler.grid(path, steps)
        self._moves: Sequence[Any] = sampler.step.plan(path, self._levels)
        self._asked = self._rehearse()
        self.timesteps = torch.tensor([float(self.schedule.time(level)) for level in self._asked], device=device)
        self.num_inference_steps = num_inference_steps
        self.set_begin_index(0)

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Where the next `step` begins, for pipelines that start from a noised picture."""
        self._begin = begin_index
        self._state: _State | None = None

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """What the network is given: c_in x_t."""
        level = self.schedule.level(float(timestep)) if timestep is not None else self._asked[self._begin]
        return sample * expand(self.schedule.prediction.input_scale(level), sample)

    def add_noise(self, original_samples: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """x_t of x_0 at the levels of these numbers (B,)."""
        levels = [self.schedule.level(float(t)) for t in timesteps.reshape(-1)]
        alpha, sigma = (torch.tensor([getattr(v, name) for v in levels]).to(noise) for name in ("alpha", "sigma"))
        return expand(alpha, noise) * original_samples + expand(sigma, noise) * noise

    def step(
        self,
        model_output: Tensor,
        timestep: Any,
        sample: Tensor,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        return_dict: bool = True,
        **_: Any,
    ) -> Stepped | tuple[Tensor]:
        """The point at which the network is to be asked next, or the sample where that was the last answer."""
        if self.num_inference_steps is None:
            raise UserError("call set_timesteps before the first step")
        if self._state is None:
            self._state = self._started(sample, timestep, generator)
        state = self._state
        level = self._asked[state.number]
        if state.at_start:
            state.x = sample  # a pipeline may have changed it, as inpainting does
        output = model_output[:, : sample.shape[1]].to(sample.dtype)
        state.answers.append(Estimate(sample, level, output, self.schedule.prediction.reading(level)))
        state.number += 1
        following = self._advance(state)
        if state.number >= len(self._asked):
            self.set_begin_index(0)
        return Stepped(following) if return_dict else (following,)

    # -- the loop, turned inside out -------------------------------------------------------------------------------

    def _started(self, sample: Tensor, timestep: Any, generator: Any) -> _State:
        number = self._begin or int((self.timesteps.cpu() - float(timestep)).abs().argmin())
        moves = [i for i, (_, first) in enumerate(self._firsts) if first == number]
        if not moves:
            raise UserError(
                f"sampling cannot begin at the time {float(timestep):g}, within a step of several evaluations"
            )
        return _State(moves[0], number, sample, _draws(generator, self.seed, len(sample), sample.device))

    def _advance(self, state: _State) -> Tensor:
        """Run the present move with the answers so far; go on to the next where it is complete."""
        while state.move <= len(self._moves):
            known = _Known(self.schedule.path, state.answers, [0])
            try:
                if state.move == len(self._moves):
                    finish = self._sampler.finish
                    return state.x if finish is None else finish(known, state.x, self._levels[-1])
                move = self._moves[state.move]
                draws = state.draws.at(state.move) if move_is_random(move) else state.draws
                state.x, state.memory = self._sampler.step(known, state.x, move, state.memory, draws)
            except _Wanted as wanted:
                state.at_start = not state.answers and wanted.x is state.x
                return wanted.x
            state.move, state.answers = state.move + 1, []
        return state.x

    def _rehearse(self) -> list[Level]:
        """The levels at which a whole run asks, found by one on a single zero; also where each move begins."""
        if any(getattr(move, "evaluations", 1) is None for move in self._moves):
            raise UserError(f"{self._sampler.step!r} decides on the way how often it asks: a pipeline must know before")
        state = _State(0, 0, torch.zeros(1, 1, dtype=torch.float64), Draws.of(0, [0]))
        asked: list[Level] = []
        self._firsts: list[tuple[int, int]] = []
        while state.move < len(self._moves) or self._sampler.finish is not None:
            known = _Known(self.schedule.path, state.answers, [0])
            try:
                if state.move == len(self._moves):
                    assert self._sampler.finish is not None
                    self._sampler.finish(known, state.x, self._levels[-1])
                    break
                if not state.answers:
                    self._firsts.append((state.move, len(asked)))
                move = self._moves[state.move]
                state.x, state.memory = self._sampler.step(known, state.x, move, state.memory, state.draws)
                state.move, state.answers = state.move + 1, []
            except _Wanted as wanted:
                if not asked and (wanted.x is not state.x or wanted.level != self._levels[0]):
                    raise UserError(
                        f"{self._sampler.step!r} moves before it first asks, which a pipeline cannot do"
                    ) from None
                asked.append(wanted.level)
                zero = torch.zeros_like(wanted.x)
                state.answers.append(Estimate.of_mean(wanted.x, wanted.level, zero))
        return asked


@dataclass(eq=False)
class _State:
    """Where a run is: the present move and its state, the answers to it so far, and how many were given in all."""

    move: int
    number: int
    x: Tensor
    draws: Draws
    memory: Any = None
    at_start: bool = True

    def __post_init__(self) -> None:
        self.answers: list[Estimate] = []


def _draws(generator: Any, seed: int, count: int, device: torch.device) -> Draws:
    """Of the generators' seeds: the same generator gives the same samples."""
    if isinstance(generator, torch.Generator) or generator is None:
        return Draws.of(seed if generator is None else generator.initial_seed(), range(count), "scheduler", device)
    parts = [Draws.of(one.initial_seed(), [0], "scheduler", device) for one in generator]
    return Draws(torch.cat([p.base for p in parts]), torch.arange(len(parts), device=device))


def _class_of(config: Mapping[str, Any]) -> str:
    """The class of a scheduler's configuration object, which keeps it apart from what it stores."""
    return str(config.get("_class_name", getattr(config, "_class_name", "DDIMScheduler")))
