"""The rewrites of adaptation, by what they change: windows, kinds of layers, formats; ``base`` says what one is."""

from spica.qat.adaptation.rewrites import formats, kinds, windows
from spica.qat.adaptation.rewrites.base import EXACT, REWRITES, Case, Change, Proposal, Rewrite, rewrites_of

__all__ = ["EXACT", "REWRITES", "Case", "Change", "Proposal", "Rewrite", "formats", "kinds", "rewrites_of", "windows"]
