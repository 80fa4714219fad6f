"""Data sets: the digits that ship with the package, and readers for those that do not."""

from spica.data.cifar import Cifar10, load_cifar10
from spica.data.digits import Digits, load_digits
from spica.data.events import EventBinner, seen_moving
from spica.data.keywords import Keywords, mfcc, synthesise_keywords

__all__ = [
    "Cifar10",
    "Digits",
    "EventBinner",
    "Keywords",
    "load_cifar10",
    "load_digits",
    "mfcc",
    "seen_moving",
    "synthesise_keywords",
]
