"""Recipes that train the Keras models of ``spica.zoo.builders``."""
