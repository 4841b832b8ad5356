"""What every test starts from: one thread, reproducible properties, no network."""

from __future__ import annotations

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Iterator

# Before torch is imported, and inherited by the processes that tests start.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import pytest
import torch
from hypothesis import settings

from pushforward.numerics.random import Draws

torch.set_num_threads(1)

settings.register_profile("ci", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("ci")


def _is_local(address: object) -> bool:
    """A Unix socket's path, or a (host, port, …) whose host is this machine."""
    if not isinstance(address, tuple):
        return True
    host = str(address[0])
    if host in {"", "localhost", socket.gethostname()}:
        return True
    try:
        ip = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return ip.is_loopback or ip.is_unspecified


@pytest.fixture(scope="session", autouse=True)
def no_network() -> Iterator[None]:
    """A test that connects to another machine fails, even where the code under test catches every exception.

    Only Python's sockets of this process are watched; gloo on localhost is free.
    """

    def guarded(original: Callable) -> Callable:
        def connect(self: socket.socket, address: object) -> object:
            if not _is_local(address):
                pytest.fail(f"the test tried to connect to {address!r}: tests use no network")
            return original(self, address)

        return connect

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex"):
            patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))
        yield


@pytest.fixture
def draws() -> Callable[..., Draws]:
    """`draws(batch, seed=0)`: the randomness of samples 0 … batch − 1, for tests that need some."""

    def make(batch: int, seed: int = 0) -> Draws:
        return Draws.of(seed, range(batch), "test")

    return make


def pytest_make_parametrize_id(config, val, argname):
    """Name rules and paths by their contents, never by an address: workers must agree on the names of tests."""
    if val is None or isinstance(val, (str, bytes, bool, int, float, complex)):
        return None
    name = re.sub(r"<function (?:[\w.]*<locals>\.)?<?(\w+)>? at 0x[0-9a-f]+>", r"\1", repr(val))
    return name if len(name) <= 80 and " at 0x" not in name and "\n" not in name else None
