"""Names that version 0.1 had still import and work; what has moved since says so with a warning."""

from __future__ import annotations

import importlib
import warnings

import pytest

import spica
from spica import _renamed

NAMES = """
spica: Network SpicaError check convert finetune from_keras from_quantizeml from_torch learn load map quantize recipe
    split to_input_integers trainable
spica.data: Cifar10 Digits EventBinner Keywords load_cifar10 load_digits mfcc seen_moving synthesise_keywords
spica.engine: Run Stream count_events run
spica.export: to_quantizeml
spica.hardware: MODES NP Design Device Exploration Finding Fixed LayerCost LearningStep MappedNetwork NPCost Placement
    Power Report Statistics check cost device_names explore fix learning_step load_device map_network two_digits
spica.importers: Split from_keras from_quantizeml from_torch split
spica.layers: DEPTHWISE Activation Add Attention BufferTempConv Concatenate Conv2D ConvTranspose2D Dense
    DepthwiseBufferTempConv DepthwiseConv2D DepthwiseConvTranspose2D Dequantize DiagonalRecurrence Flatten Gelu
    GlobalAverage GlobalAveragePooling2D Input LayerNormalization LearningDense LookUp MadNormalization MaxPool
    MaxPool2D Neural Permute Quantize QuantizeLinear ReLU Requantize Rescaling Reshape Scale SeparableConv2D Softmax
    StatefulRecurrent Take Temporal TokenEmbedding ZeroPad
spica.learning: Learner binarize elbow learn propose_weights
spica.network: Facts Layer Network TensorType record
spica.quantize: Recipe quantize recipe
spica.report: Analysis Comparison analyze compare overview write_page
spica.rewrite: PASSES fold_padding fold_scale fuse fuse_activation fuse_pooling merge_embeddings prepare
    remove_softmax scale_to_depthwise
spica.teach: Lesson serve
spica.temporal: DepthwiseTemporalConv DiagonalSSM Jacobi TemporalConv resample
spica.training: convert finetune load_keras trainable
spica.vision: TokenEmbedding
spica.zoo: akidanet autoencoder ds_cnn mobilenet resnet8
spica.zoo.digits: train_digit_classifier
spica.zoo.moving: train_moving_digit_classifier
spica.zoo.tenn: build_tenn build_recurrent_tenn build_spatiotemporal_tenn
spica.zoo.vit: build_vit
"""
"""The ``__all__`` of each package of version 0.1, and what its documents imported from elsewhere."""


def old_names():
    for entry in NAMES.replace("\n    ", " ").strip().splitlines():
        module, _, names = entry.partition(": ")
        yield from ((module, name) for name in names.split())


@pytest.mark.parametrize(("module", "name"), list(old_names()))
def test_an_old_name_is_there_and_warns_where_it_moved(module, name, keras):
    old = f"{module}.{name}".removeprefix("spica.")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = getattr(importlib.import_module(module), name)
    messages = {str(w.message) for w in caught if w.category is DeprecationWarning}
    if old in _renamed.MOVED:
        assert messages == {f"spica.{old} is now spica.{_renamed.MOVED[old]}"}
    elif package := _renamed.RENAMED.get(module.removeprefix("spica.")):
        assert messages == {f"{module} is now spica.{package}"}
        assert found is getattr(importlib.import_module(f"spica.{package}"), name)
    else:
        assert not messages


@pytest.mark.parametrize("old", _renamed.RENAMED)
def test_an_old_module_gives_the_new_one_with_a_warning(old, keras):
    name = f"spica.{old}"
    new = importlib.import_module(f"spica.{_renamed.RENAMED[old]}")
    public = next(n for n in getattr(new, "__all__", vars(new)) if not n.startswith("_"))
    with pytest.warns(DeprecationWarning, match=f"{name} is now"):
        found = getattr(importlib.import_module(name), public)
    assert found is getattr(new, public)


def test_an_old_module_is_found_below_its_package():
    with pytest.warns(DeprecationWarning, match="spica.zoo.tiny is now"):
        assert spica.zoo.tiny.resnet8 is spica.zoo.resnet8


@pytest.mark.parametrize("module", ["layers", "importers"])
def test_a_name_that_never_was_is_no_attribute(module):
    assert not hasattr(importlib.import_module(f"spica.{module}"), "nothing")


def test_old_names_hide_no_function():
    importlib.import_module("spica.quantize")
    assert callable(spica.quantize)
