"""Reduced precision: which layers get which (choose), their stored weights (quantize, apply), ranges of activations (calibrate)."""

from edgelstm.precision.apply import apply
from edgelstm.precision.calibrate import RANGES, Calibration, calibrate
from edgelstm.precision.choose import layers, resolve

__all__ = ["RANGES", "Calibration", "apply", "calibrate", "layers", "resolve"]
