"""TensorFlow's operations, shared by the front ends of TensorFlow Lite and TensorFlow.js, which spell them differently.

``operations`` has one reader for each, under TensorFlow's own names; ``folding`` computes constants, ``dilation`` puts
convolutions of an image in parts together, ``walk`` does one node after the other.
"""
