"""Training a whole network on a task: audio, augmentation, schedule, the network and its training loop."""

from downstream.protocols.finetuning.fit import Examples, Fitted, Judge, classification_loss, fit
from downstream.protocols.finetuning.network import Classifier, predict
from downstream.protocols.finetuning.spec_augment import SpecAugmentConfig
from downstream.protocols.finetuning.waves import ClipWaves

__all__ = [
    "Classifier",
    "ClipWaves",
    "Examples",
    "Fitted",
    "Judge",
    "SpecAugmentConfig",
    "classification_loss",
    "fit",
    "predict",
]
