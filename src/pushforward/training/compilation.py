"""Networks compiled for their training by torch.compile: the same numbers to rounding, faster on accelerators."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn


def networks_of(model: nn.Module) -> Iterator[nn.Module]:
    """The outermost modules of a model that are called and have something to train: its networks."""
    for child in model.children():
        if type(child).forward is nn.Module.forward:  # it holds others, and is called by methods of its own
            yield from networks_of(child)
        elif any(p.requires_grad for p in child.parameters()):
            yield child


def compile_networks(model: nn.Module) -> list[nn.Module]:
    """Have the networks of a model compiled when they are first called, in place: names of weights stay as they are."""
    found = list(networks_of(model))
    for network in found:
        network.compile()
    return found


def as_written(networks: list[nn.Module]) -> None:
    """Take it back."""
    for network in networks:
        network._compiled_call_impl = None
