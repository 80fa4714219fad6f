"""Applications: the demos and the teaching page."""
