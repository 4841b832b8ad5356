"""What the tests of the engine share; `small` is found by the processes they start as well."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from small import Points


@pytest.fixture
def points():
    return Points(50)
