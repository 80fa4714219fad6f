"""What quantization does to a layer, as rules by layer type.

====================  ==================================================================
``quantize_layer``    the integer form of a float layer
``has_output_stage``  whether a layer's output is brought to the bits of activations
``is_rectified``      whether it is never negative
``scale_output``      a layer whose output is multiplied by a factor
``scale_input``       a layer that takes a factor on its input back
``read_weights``      the largest weight on each channel that a layer reads
``second_moments``    mean products of what the weights of a layer read
====================  ==================================================================

A rule on ``WeightedLayer`` serves every layer with weights. Where a layer type has no rule, the reason is beside them.
"""

import spica.quantization.rules.recurrence
import spica.quantization.rules.transformer  # noqa: F401 (both register rules)
from spica.quantization.rules.formats import has_output_stage, is_rectified
from spica.quantization.rules.listing import WITHOUT_WEIGHTS
from spica.quantization.rules.moments import second_moments
from spica.quantization.rules.quantize import LayerContext, quantize_layer
from spica.quantization.rules.scaling import read_weights, scale_input, scale_output, scaled_readers

__all__ = [
    "WITHOUT_WEIGHTS",
    "LayerContext",
    "has_output_stage",
    "is_rectified",
    "quantize_layer",
    "read_weights",
    "scale_input",
    "scale_output",
    "scaled_readers",
    "second_moments",
]
