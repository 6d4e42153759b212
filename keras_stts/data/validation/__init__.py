"""What a table of videos holds, and whether a second one is like it."""

from keras_stts.data.validation.anomalies import Anomaly
from keras_stts.data.validation.checking import ValidationResult
from keras_stts.data.validation.checking import validate

__all__ = ["Anomaly", "ValidationResult", "validate"]
