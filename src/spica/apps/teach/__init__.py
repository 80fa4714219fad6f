"""A page in the browser where a person draws signs, teaches them to a network, and sees them recognised."""

from spica.apps.teach.lesson import Lesson
from spica.apps.teach.server import serve

__all__ = ["Lesson", "serve"]
