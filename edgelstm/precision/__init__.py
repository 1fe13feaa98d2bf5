"""Reduced precision: which layers get which (choose), ranges of activations (calibrate), stored weights (quantize, apply)."""

from edgelstm.precision.apply import apply
from edgelstm.precision.calibrate import RANGES, Calibration, calibrate
from edgelstm.precision.choose import layers, resolve

__all__ = ["RANGES", "Calibration", "apply", "calibrate", "layers", "resolve"]
