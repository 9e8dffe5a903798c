"""What can go wrong, as types: each message tells what, with which file, and what to type next."""

from __future__ import annotations


class AacError(Exception):
    """Base of all errors that a user can cause and mend."""


class AudioError(AacError):
    """A sound file that cannot be read."""


class DataError(AacError):
    """A data set that is not as it should be: layout, columns, labels."""


class CheckpointError(AacError):
    """A checkpoint that is missing, damaged, or not one of ours."""


class FetchError(AacError):
    """A file that could not be fetched or kept, or is not what was promised."""


class ConfigError(AacError):
    """A setting that is unknown or out of range."""


class UnknownSettingError(ConfigError):
    """A setting that this version has never heard of."""


class DeviceError(AacError):
    """A device that is too small for what is asked of it."""


class RankError(AacError):
    """One of several processes at work together has ended before its time."""


class TrainingError(AacError):
    """A training run that cannot go on."""


class MetricError(AacError):
    """A score that cannot be computed."""


class NotInstalledError(MetricError):
    """A score that cannot be computed because a program or a model is not here."""


class OutputError(AacError):
    """Results that cannot be written, or taken up again."""
