"""What TensorFlow's formats share: its operations, which TensorFlow Lite and TensorFlow.js spell in their own ways.

``operations`` has one reader for each, under TensorFlow's own names; ``folding`` computes constants, ``dilation`` puts
convolutions of an image in parts together, ``walk`` does one node after the other.
"""
