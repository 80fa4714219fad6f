"""The class token and the positions of a vision transformer, as a Keras 3 layer."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable("spica")
class TokenEmbedding(keras.layers.Layer):
    """A learned class token before all others, and learned positions: ``(N, T, C)`` to ``(N, T + 1, C)``.

    Args:
        class_token: whether there is a class token; else only positions are added.
    """

    def __init__(self, class_token: bool = True, **options: Any) -> None:
        super().__init__(**options)
        self.class_token = class_token

    def build(self, input_shape: tuple) -> None:
        """Make the weights for an input of this shape."""
        tokens, width = input_shape[1] + self.class_token, input_shape[2]
        start = keras.initializers.RandomNormal(stddev=0.02)
        self.positions = self.add_weight(name="positions", shape=(tokens, width), initializer=start)
        if self.class_token:
            self.token = self.add_weight(name="token", shape=(1, width), initializer=start)

    def call(self, x: Any) -> Any:
        """Compute the layer on a batch."""
        if self.class_token:
            token = ops.broadcast_to(ops.convert_to_tensor(self.token), (ops.shape(x)[0], 1, x.shape[2]))
            x = ops.concatenate([token, x], axis=1)
        return x + self.positions

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Return the shape of the output."""
        return (input_shape[0], input_shape[1] + self.class_token, input_shape[2])

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that make an equal layer."""
        return {**super().get_config(), "class_token": self.class_token}
