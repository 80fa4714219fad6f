"""Layer types, listed by why they have no rule in what changes weights."""

from spica.layers import (
    Activation,
    Add,
    Attention,
    Concatenate,
    Dequantize,
    DiagonalRecurrence,
    Flatten,
    Gelu,
    GlobalAveragePooling2D,
    Input,
    LayerNormalization,
    LearningDense,
    LookUp,
    MaxPool2D,
    Permute,
    Quantize,
    QuantizeLinear,
    Rescaling,
    Reshape,
    Scale,
    Softmax,
    StatefulRecurrent,
    Take,
    TokenEmbedding,
    ZeroPad,
)

INTEGER_ONLY = (Quantize, QuantizeLinear, Dequantize, LearningDense, LookUp, StatefulRecurrent)
"""Layers of integer networks, or of their ends."""

WITHOUT_WEIGHTS = (
    *INTEGER_ONLY,
    Activation,
    Add,
    Attention,
    Concatenate,
    DiagonalRecurrence,
    Flatten,
    Gelu,
    GlobalAveragePooling2D,
    Input,
    LayerNormalization,
    MaxPool2D,
    Permute,
    Rescaling,
    Reshape,
    Scale,
    Softmax,
    Take,
    TokenEmbedding,
    ZeroPad,
)
"""Layers that are no ``WeightedLayer``."""
