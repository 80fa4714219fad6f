"""Builders of untrained networks: as float networks, or as Keras models."""
