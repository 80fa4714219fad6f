"""A small vision transformer in Keras (Dosovitskiy et al., An Image is Worth 16x16 Words, 2021)."""

from __future__ import annotations

from typing import Any

from spica.errors import SpicaError
from spica.util.keras_backend import load_keras


def build_vit(
    size: int = 32,
    patch: int = 4,
    width: int = 64,
    depth: int = 4,
    heads: int = 4,
    classes: int = 10,
    dropout: float = 0.1,
) -> Any:
    """Build an untrained ``keras.Model`` that reads raw pixels, 0 to 255, of shape (size, size, 3) and gives logits.

    Patches become tokens by a convolution, behind a class token; blocks of attention and of two dense layers with GELU
    between them, each after a layer normalisation and with a residual; the class token is read out.

    Args:
        size: height and width of the images.
        patch: height and width of a patch.
        width: channels of a token.
        depth: number of blocks.
        heads: of each attention.
        classes: number of logits.
        dropout: share of activations that training leaves out.

    Raises:
        SpicaError: where patches do not divide the image, or heads the width.
    """
    if min(patch, width, depth, heads, classes) < 1 or size % patch or width % heads:
        raise SpicaError(
            f"patches must divide the image and heads the width, all at least 1; got images of {size}, patches of "
            f"{patch}, width {width}, {heads} heads, depth {depth} and {classes} classes"
        )
    keras = load_keras()
    from spica.keras import TokenEmbedding

    layers = keras.layers
    source = keras.Input((size, size, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(source)
    x = layers.Conv2D(width, patch, strides=patch, padding="valid", name="patches")(x)
    x = layers.Reshape(((size // patch) ** 2, width), name="tokens")(x)
    x = TokenEmbedding(name="embedding")(x)
    for i in range(1, depth + 1):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{i}a")(x)
        y = layers.MultiHeadAttention(heads, width // heads, dropout=dropout, name=f"attention_{i}")(y, y)
        x = layers.Add(name=f"add_{i}a")([x, y])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm_{i}b")(x)
        y = layers.Dense(2 * width, activation="gelu", name=f"expand_{i}")(y)
        y = layers.Dense(width, name=f"contract_{i}")(layers.Dropout(dropout)(y))
        x = layers.Add(name=f"add_{i}b")([x, y])
    x = layers.LayerNormalization(epsilon=1e-6, name="norm")(x)
    x = layers.Flatten()(layers.Cropping1D((0, (size // patch) ** 2), name="class_token")(x))
    return keras.Model(source, layers.Dense(classes, name="classifier")(x), name="vit")
