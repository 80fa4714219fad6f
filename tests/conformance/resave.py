"""Save some committed vectors' networks in Keras's other format, in the reference's environment (see generate.py):

python tests/conformance/resave.py
"""

import os
from pathlib import Path

os.environ.update(TF_USE_LEGACY_KERAS="1", TF_CPP_MIN_LOG_LEVEL="3")

import quantizeml  # noqa: F401  (registers its layers with Keras)
import tf_keras as keras

HERE = Path(__file__).parent
NAMES = (
    "activation_gelu_w8a8",
    "add_residual_w8a8",
    "concatenate_w8a8",
    "conv_transpose_k3_w8a8",
    "depthwise_k3s1_w8a8",
    "depthwise_transpose_k3_w8a8",
    "input_quantizer_uint8_axis_w8a8",
    "recurrent_w8a8",
    "separable_s1_w4a8",
    "temporal_depthwise_w8a8",
    "temporal_w8a8",
)

for name in NAMES:
    model = keras.models.load_model(HERE / "golden" / f"{name}.h5", compile=False)
    model.save(HERE / "golden_keras" / f"{name}.keras")
