"""Data sets: the digits that ship with the package, and readers for those that do not."""

from spica.data.cifar import Cifar10, load_cifar10
from spica.data.digits import Digits, load_digits
from spica.data.keywords import Keywords, mfcc, synthesise_keywords

__all__ = ["Cifar10", "Digits", "Keywords", "load_cifar10", "load_digits", "mfcc", "synthesise_keywords"]
