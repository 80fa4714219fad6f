"""Rules by layer type: all that quantisation knows of single layers.

====================  =================================================================
``quantize_layer``    the integer form of a float layer
``has_output_stage``  whether a layer's output is brought to the bits of activations
``readers_behind``    the layers whose weights take back a factor on what a layer reads
``second_moments``    mean products of what the weights of a layer read
====================  =================================================================

Rules on ``WeightedLayer`` serve every layer with weights; ``layers.weighted.kernel_channels`` tells scaling all that it
has to know. Where a layer type has no rule, the reason is beside the others'.
"""

from spica.quantization.rules import sequence  # noqa: F401 (registers its rules)
from spica.quantization.rules.quantize import LayerContext, has_output_stage, quantize_layer

__all__ = ["LayerContext", "has_output_stage", "quantize_layer"]
