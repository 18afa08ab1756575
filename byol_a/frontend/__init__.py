"""From waveform to log-mel spectrogram: `LogMel`, its configuration, and the mel filterbank."""

from byol_a.frontend.config import FrontendConfig
from byol_a.frontend.logmel import LogMel
from byol_a.frontend.mel import mel_filterbank

__all__ = ["FrontendConfig", "LogMel", "mel_filterbank"]
