"""One step of training: a pure function of (weights, moments, averages, step number)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn

from pushforward.errors import UserError
from pushforward.numerics.dropout import counted, number_dropouts, uncounted_dropout
from pushforward.numerics.random import Draws, key, keys
from pushforward.training.compilation import as_written, compile_networks
from pushforward.training.ema import Average, ExponentialAverage, PowerAverage
from pushforward.training.hooks import Adapting, Measured, Scheduled, Validated
from pushforward.training.order import Order, chunks
from pushforward.training.place import Place
from pushforward.training.recipe import Recipe
from pushforward.training.schedule import learning_rate

if TYPE_CHECKING:
    from pushforward.data.dataset import Batch


class Items(Protocol):
    """Data to train on or to validate with, by index."""

    def __len__(self) -> int:
        """How many items there are."""
        ...

    def batch(self, indices: Tensor) -> Batch:
        """The items with these indices (int64), in this order."""
        ...


class Trainable(Protocol):
    """What the engine asks of a model, which is an `nn.Module` besides; `hooks` lists what else it may offer."""

    def objectives(self) -> Mapping[str, Iterable[nn.Parameter]]:
        """The parameters that each objective trains; one or several that alternate, in order."""
        ...

    def loss(self, objective: str, batch: Batch, draws: Draws) -> Tensor:
        """The loss of each item of a batch: (B,), with randomness from one key per item."""
        ...


class Taken(NamedTuple):
    """What a step gave for one objective, nothing of it read from the device."""

    loss: Tensor
    """This process's share of the mean loss."""
    norms: Tensor
    """Of the gradient of each parameter, before clipping: (P,)."""
    figures: Mapping[str, Tensor]
    """This process's share of the mean of each of the model's own figures, where they were asked for."""


class _Loss(nn.Module):
    """A model's loss as a forward pass, so that what wraps a module (averaged gradients, mixed precision) sees it."""

    def __init__(self, model: nn.Module, objective: str) -> None:
        super().__init__()
        self.model, self.objective = model, objective

    def forward(self, batch: Batch, draws: Draws) -> Tensor:
        with counted(draws.at("dropout")):
            return cast(Trainable, self.model).loss(self.objective, batch, draws)


class Objective:
    """One objective with its parameters, its optimiser and its wrapped loss."""

    def __init__(
        self, model: nn.Module, name: str, parameters: dict[str, nn.Parameter], recipe: Recipe, place: Place
    ) -> None:
        self.name, self.names, self.parameters = name, list(parameters), list(parameters.values())
        decayed = [p for p in self.parameters if p.ndim >= 2]
        others = [p for p in self.parameters if p.ndim < 2]
        groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(
            [g for g in groups if g["params"]],
            lr=recipe.learning_rate,
            betas=recipe.betas,
            amsgrad=recipe.amsgrad,
            fused=place.device.type in ("cpu", "cuda"),
        )
        self.loss = place.wrap(_Loss(model, name))

    def state(self) -> dict[str, Tensor]:
        """The optimiser's tensors, `<parameter>.<what>`."""
        moments = self.optimiser.state
        return {f"{n}.{k}": v for n, p in zip(self.names, self.parameters, strict=True) for k, v in moments[p].items()}

    def expected_state(self) -> dict[str, Tensor]:
        """What `state` looks like once a step has been taken (names and shapes alone)."""
        scalar = torch.zeros(())
        pairs = list(zip(self.names, self.parameters, strict=True))
        return {f"{n}.{k}": scalar if k == "step" else p for n, p in pairs for k in self._kept()}

    def _kept(self) -> tuple[str, ...]:
        """What the optimiser keeps of a parameter."""
        return ("step", "exp_avg", "exp_avg_sq", *(("max_exp_avg_sq",) if self.optimiser.defaults["amsgrad"] else ()))

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Take back what `state` gave; before the first step there is nothing."""
        for name, p in zip(self.names, self.parameters, strict=True):
            if f"{name}.step" in tensors:
                kinds = {k: tensors[f"{name}.{k}"].to(p.device, copy=True) for k in self._kept()}
                if not self.optimiser.defaults["fused"]:
                    kinds["step"] = kinds["step"].cpu()
                self.optimiser.state[p] = kinds


class Stepper:
    """Takes steps: batches, losses, gradients, updates and averages, without ever waiting for the device."""

    def __init__(self, model: nn.Module, train: Items, recipe: Recipe, place: Place) -> None:
        self.model, self.train, self.recipe, self.place = model, train, recipe, place
        self.order = Order(recipe.seed, len(train), recipe.batch_size)
        self.parts = chunks(recipe.batch_size, place.world, place.rank, recipe.accumulate)
        number_dropouts(model)
        trained = _trained(model)
        self._compiled = compile_networks(model) if recipe.compile else []
        self.objectives: list[Objective] = []
        for name, parameters in trained.items():
            _train_only(trained, name)
            self.objectives.append(Objective(model, name, parameters, recipe, place))
        unknown = sorted(set(recipe.rates) - set(trained))
        if unknown:
            raise UserError(f"rates names {unknown[0]!r}; the objectives of this model are {', '.join(trained)}.")
        self._trained = trained
        self._scheduled = model if isinstance(model, Scheduled) else None
        everything = {n: p for parameters in trained.values() for n, p in parameters.items()}
        self.averages: list[Average] = [PowerAverage(everything, length) for length in recipe.ema_lengths]
        self.averages += [ExponentialAverage(everything, beta) for beta in recipe.ema_decays]

    def loss(self, batch: Batch, draws: Draws) -> Tensor:
        """What validation measures of each item as the model stands, else the first objective's loss: (B,)."""
        with self.place.precision(), counted(draws.at("dropout")):
            if isinstance(self.model, Validated):
                return self.model.validation_loss(batch, draws.at("validation")).float()
            name = self.objectives[0].name
            return cast(Trainable, self.model).loss(name, batch, draws.at(name)).float()

    def release(self) -> None:
        """Let gradients reach every trained parameter again, and leave networks as they were."""
        as_written(self._compiled)
        for name in self._trained:
            for p in self._trained[name].values():
                p.requires_grad_(True)

    def step(self, number: int, total: int, figures: bool = False) -> list[Taken]:
        """Take step `number` (from 0); what it gave for each objective, the model's own figures if they are wanted."""
        recipe, model = self.recipe, self.model
        model.train()
        if self._scheduled is not None:
            self._scheduled.progress = min(1.0, number / total)
        rate = learning_rate(recipe.learning_rate, recipe.schedule, recipe.warmup_steps, number, total)
        batches = self._batches(number)
        out = []
        for objective in self.objectives:
            if len(self.objectives) > 1:
                _train_only(self._trained, objective.name)
            loss, told = self._gradients(objective, batches, figures)
            norms = _clip(objective.parameters, recipe.clip_norm)
            for group in objective.optimiser.param_groups:
                group["lr"] = rate * recipe.rates.get(objective.name, 1.0)
            objective.optimiser.step()
            objective.optimiser.zero_grad(set_to_none=True)
            out.append(Taken(loss, norms, told))
        if isinstance(model, Adapting):
            model.after_step(self.place.sum)
        for average in self.averages:
            average.update(number + 1)
        return out

    def _batches(self, number: int) -> list[tuple[Batch, Draws, float]]:
        indices, base = self.order.indices(number), key(self.recipe.seed, "train", number)
        out = []
        for slots, weight in self.parts:
            slot = torch.arange(slots.start, slots.stop).to(self.place.device)
            # items are numbered on through the whole training, so that stratified times cover it evenly
            draws = Draws(keys(base, slot, self.place.device), slot + number * self.recipe.batch_size)
            batch = self.train.batch(indices[slots.start : slots.stop]).to(self.place.device)
            if self.recipe.augment is not None:
                batch = self.recipe.augment(batch, draws.at("augment"))
            out.append((batch, draws, weight))
        return out

    def _gradients(
        self, objective: Objective, batches: list[tuple[Batch, Draws, float]], telling: bool
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Add up the gradients of the mean loss of the whole batch; this process's share of it, and of figures."""
        share, size = torch.zeros((), device=self.place.device), self.recipe.batch_size
        figures: dict[str, Tensor] = {}
        for part, (batch, draws, weight) in enumerate(batches):
            with self.place.local(objective.loss, last=part == len(batches) - 1):
                losses = objective.loss(batch, draws.at(objective.name))
                if losses.shape != (len(draws),):
                    raise UserError(
                        f"The loss {objective.name!r} has the shape {tuple(losses.shape)}; expected one number for "
                        f"each of the {len(draws)} items of the batch."
                    )
                # the processes' gradients are averaged, but each holds a part of a sum: hence the number of processes
                value = losses.sum() * (weight / size)
                self.place.accelerator.backward(value * self.place.world)
            share += value.detach()
            if telling and isinstance(self.model, Measured):
                for name, figure in self.model.figures().items():
                    part_of_mean = figure.detach().float().mean() * (len(draws) * weight / size)
                    figures[name] = figures[name] + part_of_mean if name in figures else part_of_mean
        return share, figures


def _trained(model: nn.Module) -> dict[str, dict[str, nn.Parameter]]:
    """The named parameters of each objective, checked: floats of full precision, each in one objective."""
    names = {id(p): name for name, p in model.named_parameters()}
    out: dict[str, dict[str, nn.Parameter]] = {}
    owner: dict[str, str] = {}
    layer = uncounted_dropout(model)
    if layer is not None:
        raise UserError(
            f"The layer {layer} is torch's own dropout, which cannot be resumed; use pushforward's Dropout."
        )
    for objective, parameters in cast(Trainable, model).objectives().items():
        wanted = {id(p) for p in parameters}
        out[objective] = {names[id(p)]: p for p in model.parameters() if id(p) in wanted and p.requires_grad}
        for name, p in out[objective].items():
            if owner.setdefault(name, objective) != objective:
                raise UserError(f"The parameter {name} belongs to two objectives, {owner[name]} and {objective}.")
            if p.dtype not in (torch.float32, torch.float64):
                raise UserError(
                    f"The parameter {name} is {p.dtype}; train float32 weights, with precision bf16 if wanted."
                )
    if not any(out.values()):
        raise UserError("The model has no parameters to train.")
    return out


def _train_only(trained: Mapping[str, Mapping[str, nn.Parameter]], objective: str) -> None:
    """Let gradients reach the parameters of one objective alone."""
    for name, parameters in trained.items():
        for p in parameters.values():
            p.requires_grad_(name == objective)


@torch.no_grad()
def _clip(parameters: list[nn.Parameter], limit: float | None) -> Tensor:
    """Scale the gradients to a joint norm of at most `limit`; returns the norm of each before (P,)."""
    for p in parameters:
        if p.grad is None:  # a parameter that this batch does not reach
            p.grad = torch.zeros_like(p)
    gradients = [cast(Tensor, p.grad) for p in parameters]
    norms = torch.stack(torch._foreach_norm(gradients))
    if limit is not None:
        torch._foreach_mul_(gradients, (limit / (torch.linalg.vector_norm(norms) + 1e-6)).clamp(max=1.0))
    return norms
