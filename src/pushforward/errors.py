"""What goes wrong, as the user is told it: one sentence each, and the exit code that goes with it."""

from __future__ import annotations


class PushforwardError(Exception):
    """Something the library says in one sentence instead of a traceback. Exit code 1."""

    exit_code = 1


class UserError(PushforwardError, ValueError):
    """Wrong input: the sentence names what was given, what was expected and what to do. Exit code 2."""

    exit_code = 2


class NumericalError(PushforwardError, ArithmeticError):
    """A number that is not finite where it must be; nothing was saved after it. Exit code 3."""

    exit_code = 3


class Interrupted(PushforwardError):
    """Stopped by a signal after saving; the same command continues. Exit code 75."""

    exit_code = 75
