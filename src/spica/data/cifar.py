"""CIFAR-10, from a folder that the caller has: it is too large to ship."""

from __future__ import annotations

import io
from dataclasses import dataclass
from itertools import pairwise
from os import PathLike
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spica.errors import SpicaError

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SIDE = 32
RECORD = 1 + 3 * SIDE * SIDE


@dataclass(frozen=True, eq=False)
class Cifar10:
    """The data set's own split.

    Attributes:
        train_x, test_x: images, uint8 ``(N, 32, 32, 3)``, 0 to 255.
        train_y, test_y: index into ``CLASSES``, uint8 ``(N,)``.
    """

    train_x: NDArray[np.uint8]
    train_y: NDArray[np.uint8]
    test_x: NDArray[np.uint8]
    test_y: NDArray[np.uint8]


def load_cifar10(folder: str | PathLike[str]) -> Cifar10:
    """Load both splits of CIFAR-10.

    Args:
        folder: where the binary version (``data_batch_1.bin`` to ``test_batch.bin``) lies, or ``cifar10_train.npz`` and
            ``cifar10_test.npz`` with concatenated JPEG files (``jpeg``, ``offsets``, ``labels``), which need Pillow and
            are not the original bits.

    Raises:
        SpicaError: where neither is there, or a file is damaged.
    """
    here = Path(folder)
    batches = sorted(here.glob("data_batch_*.bin"))
    if batches and (here / "test_batch.bin").exists():
        return Cifar10(*_binary(batches), *_binary([here / "test_batch.bin"]))
    packed = [here / f"cifar10_{split}.npz" for split in ("train", "test")]
    if all(path.exists() for path in packed):
        return Cifar10(*_jpeg(packed[0]), *_jpeg(packed[1]))
    raise SpicaError(
        f"{here}: holds neither data_batch_*.bin with test_batch.bin nor cifar10_train.npz with cifar10_test.npz"
    )


def _binary(paths: list[Path]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    data = np.concatenate([np.fromfile(path, np.uint8) for path in paths])
    if len(data) == 0 or len(data) % RECORD:
        raise SpicaError(f"{paths[0]}: expected a batch of CIFAR-10, whose size is a multiple of {RECORD} bytes")
    records = data.reshape(-1, RECORD)
    images = records[:, 1:].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(images), records[:, 0].copy()


def _jpeg(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    try:
        from PIL import Image
    except ImportError as error:
        raise SpicaError(f"{path}: holds JPEG files ({error}); run: pip install pillow") from None
    try:
        with np.load(path) as arrays:
            data, offsets, labels = (arrays[name] for name in ("jpeg", "offsets", "labels"))
        ends = pairwise(offsets)
        images = np.stack([np.asarray(Image.open(io.BytesIO(data[a:b].tobytes())).convert("RGB")) for a, b in ends])
    except (KeyError, ValueError, OSError) as error:
        raise SpicaError(f"{path}: expected packed CIFAR-10 with jpeg, offsets and labels ({error})") from None
    return images, labels
