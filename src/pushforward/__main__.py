"""`python -m pushforward`, which is also what `torchrun -m pushforward …` starts."""

import sys

from pushforward.cli.main import main

sys.exit(main())
