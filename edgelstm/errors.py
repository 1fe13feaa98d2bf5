"""The error tree: everything that EdgeLSTM raises on purpose.

    EdgeLSTMError
      FormatError        a file that is not what it claims to be, or is damaged
      UnsupportedError   a model that is fine, but holds something not implemented; lists all of it
      ShapeError         an array whose shape or dtype does not fit the model
      PrecisionError     calibration data, an unknown layer, or an error limit that nothing reaches
      DeviceError        a device, target or stream that cannot be used this way
        DeviceMemoryError  a device whose memory is full
      BuildError         an ahead-of-time build that failed
      DependencyError    a package that is not installed; names it

A message says what was found, where (file and node), what is supported and what to do.
"""

from collections.abc import Iterable


class EdgeLSTMError(Exception):
    """Base of every error that EdgeLSTM raises on purpose. `exit_code` is what the command line ends with."""

    exit_code = 1


class FormatError(EdgeLSTMError):
    """A file that is not what it claims to be, or is damaged."""

    exit_code = 4


class UnsupportedError(EdgeLSTMError):
    """A model that holds things not implemented. `problems` has one line for each."""

    exit_code = 3

    def __init__(self, message: str, problems: Iterable[str] = ()):
        self.problems = tuple(problems)
        super().__init__("\n".join([message, *(f"  - {problem}" for problem in self.problems)]))


class ShapeError(EdgeLSTMError):
    """An array whose shape or dtype does not fit the model."""

    exit_code = 2


class PrecisionError(EdgeLSTMError):
    """Calibration data, a layer name or an error limit that cannot be honoured."""

    exit_code = 2


class DeviceError(EdgeLSTMError):
    """A device, target or stream that cannot be used this way."""

    exit_code = 5


class DeviceMemoryError(DeviceError):
    """A device whose memory is full."""


class DeviceWarning(UserWarning):
    """Tells on which device a model runs, and why, where EdgeLSTM chose it, or that a GPU runs it in a slower way."""


class BuildError(EdgeLSTMError):
    """A build that failed. `exit_code` is 1 for a limit, 2 for wrong arguments, 3 for what a target can't run."""

    def __init__(self, message: str, exit_code: int = 5):
        self.exit_code = exit_code
        super().__init__(message)


class DependencyError(EdgeLSTMError):
    """A package that is needed and not installed."""

    exit_code = 5
