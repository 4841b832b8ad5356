"""`python -m pushforward`, which is also what `torchrun -m pushforward …` starts."""

from pushforward.cli.main import run

run()
