"""Devices as data: what a device is, its rules on layers, the catalogue, and reading a user's file."""
