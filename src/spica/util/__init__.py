"""Small tools for every package: progress bars, text tables, atomic file writes, importing Keras."""
