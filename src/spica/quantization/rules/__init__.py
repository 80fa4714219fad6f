"""Rules by layer type: how a float layer becomes integer.

``base`` has the transform, and the layers that it leaves as they are or refuses; ``weighted`` one rule for every layer
with weights; ``sequence`` tokens, attention, GELU and recurrence. Other rules by layer type are where their stage is:
``scaling.readers_behind`` and ``gptq.filter_inputs``. A rule on ``WeightedLayer`` serves every layer with weights;
``layers.weighted.kernel_channels`` tells all that the others have to know.
"""

from spica.quantization.rules import sequence, weighted  # noqa: F401 (register their rules)
from spica.quantization.rules.base import LayerContext, has_output_stage, quantize_layer

__all__ = ["LayerContext", "has_output_stage", "quantize_layer"]
