"""Random and hand-made networks that several tests draw on."""
