"""Small tools that every package may use: progress bars, text tables, atomic file writes."""
