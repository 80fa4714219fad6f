"""What people look at: figures of a network on a chip, and a self-contained page that holds them."""

from spica.report.analyze import Analysis, analyze
from spica.report.compare import Comparison, compare
from spica.report.figures import overview
from spica.report.page import write_page

__all__ = ["Analysis", "Comparison", "analyze", "compare", "overview", "write_page"]
