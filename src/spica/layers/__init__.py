"""Layers, a file for each family: record, shape rule, float meaning, integer meaning, facts for hardware."""

from spica.layers.activation import Activation, Softmax
from spica.layers.add import Add
from spica.layers.convolution import Conv2D
from spica.layers.dense import Dense
from spica.layers.depthwise import DepthwiseConv2D
from spica.layers.input import Input
from spica.layers.neural import GlobalAverage, MaxPool, Neural, ReLU, Requantize
from spica.layers.normalization import Scale, ZeroPad
from spica.layers.pooling import GlobalAveragePooling2D, MaxPool2D
from spica.layers.separable import SeparableConv2D
from spica.layers.shape import Concatenate, Dequantize, Flatten, Reshape

__all__ = [
    "Activation",
    "Add",
    "Concatenate",
    "Conv2D",
    "Dense",
    "DepthwiseConv2D",
    "Dequantize",
    "Flatten",
    "GlobalAverage",
    "GlobalAveragePooling2D",
    "Input",
    "MaxPool",
    "MaxPool2D",
    "Neural",
    "ReLU",
    "Requantize",
    "Reshape",
    "Scale",
    "SeparableConv2D",
    "Softmax",
    "ZeroPad",
]
