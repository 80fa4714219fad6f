"""The ``spica`` command: thin commands over the public interface."""
