"""Results for people: comparisons and analyses as data, and text, figures and HTML pages made of them."""

from spica import _renamed
from spica.report import figures
from spica.report.analysis import Analysis, analyze
from spica.report.comparison import Comparison, compare
from spica.report.figures import overview, write_figure
from spica.report.html import write_page

_renamed.register()

__all__ = ["Analysis", "Comparison", "analyze", "compare", "figures", "overview", "write_figure", "write_page"]
