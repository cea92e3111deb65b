"""Exceptions: each says what is wrong, where, and what to do about it."""

from __future__ import annotations

__all__ = [
    "AccelError",
    "CancelledError",
    "EngineError",
    "FieldError",
    "InputError",
    "InternalError",
    "TooLargeError",
    "VersionError",
]


class AccelError(Exception):
    """Anything that could not be computed.

    ``problem`` is what is wrong, ``cure`` what to do about it; empty where nothing is known.
    """

    problem: str
    cure: str

    def __init__(self, message: str, *, problem: str = "", cure: str = "") -> None:
        super().__init__(message)
        self.problem = problem
        self.cure = cure


class FieldError(AccelError, ValueError):
    """An argument, or a field of a recipe, holds a value that is not allowed."""

    field: str
    value: str

    def __init__(self, message: str, *, field: str = "", value: str = "", problem: str = "", cure: str = "") -> None:
        super().__init__(message, problem=problem, cure=cure)
        self.field = field
        self.value = value


class InputError(AccelError, ValueError):
    """A file or a table that cannot be read; ``place`` says where in it."""

    input: str
    place: str

    def __init__(self, message: str, *, input: str = "", place: str = "", problem: str = "", cure: str = "") -> None:
        super().__init__(message, problem=problem, cure=cure)
        self.input = input
        self.place = place


class TooLargeError(AccelError):
    """The experiment is larger than this build computes."""


class VersionError(AccelError):
    """A worker has another version of the package than the program that started the sweep."""


class EngineError(AccelError):
    """The engine that runs a sweep lost tasks more often than they are tried."""


class CancelledError(AccelError):
    """The work was stopped."""


class InternalError(AccelError, RuntimeError):
    """A broken promise inside the package. Please report it with the recipe."""


def field_error(field: str, value: object, problem: str, cure: str) -> FieldError:
    """The error of an argument."""
    message = f"{field} is {value}: {problem}. {cure}"
    return FieldError(message, field=field, value=str(value), problem=problem, cure=cure)
