"""Legalization: changes that make a network obey a device and leave its outputs as they were."""
