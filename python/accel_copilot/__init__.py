"""What should stay in an accelerator's fast memory, how much of it is needed, and which policy should decide.

>>> import accel_copilot
>>> accel_copilot.simulate({"id": [1, 2, 1, 3, 1]}, capacity=2, policies=["lru", "fifo"])["lru"]["hits"]
2
"""

from ._api import (
    bounds,
    curve,
    devices,
    kernel,
    make_trace,
    models,
    options,
    policies,
    read_trace,
    recommend,
    run,
    scenarios,
    simulate,
)
from ._errors import (
    AccelError,
    CancelledError,
    EngineError,
    FieldError,
    InputError,
    InternalError,
    TooLargeError,
    VersionError,
)
from ._native import VERSION as __version__
from ._native import Trace
from ._results import Curves, Recommendation, Result
from ._sweeps import simulate_batch, sweep
from ._table import Table

__all__ = [
    "AccelError",
    "CancelledError",
    "Curves",
    "EngineError",
    "FieldError",
    "InputError",
    "InternalError",
    "Recommendation",
    "Result",
    "Table",
    "TooLargeError",
    "Trace",
    "VersionError",
    "__version__",
    "bounds",
    "curve",
    "devices",
    "kernel",
    "make_trace",
    "models",
    "options",
    "policies",
    "read_trace",
    "recommend",
    "run",
    "scenarios",
    "simulate",
    "simulate_batch",
    "sweep",
]
