"""Networks that Spica writes, run by the reference.

In Spica's environment, write every committed vector's network, and networks quantised by Spica, with Spica's outputs:

    python tests/conformance/exported.py write DIR

In the reference's environment (see generate.py), load each file, run it, and compare the outputs bit for bit:

    python tests/conformance/exported.py check DIR
"""

import sys
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden"


def write(folder: Path) -> None:
    import spica
    from spica.deploy import to_quantizeml

    folder.mkdir(parents=True, exist_ok=True)
    written = refused = 0
    for path, net, x in candidates():
        try:
            to_quantizeml(net, folder / f"{path}.h5")
        except spica.SpicaError as error:
            refused += 1
            print(f"refused  {error}")
            continue
        written += 1
        outputs = net.forward(x)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        arrays = {f"input_{i}": a for i, a in enumerate(x if isinstance(x, list) else [x])}
        np.savez_compressed(folder / f"{path}.npz", **arrays, **{f"output_{i}": y for i, y in enumerate(outputs)})
    print(f"{written} written, {refused} refused")


def candidates():
    """Names, integer networks and inputs: those of the golden vectors, and some that Spica quantises itself."""
    import spica
    from spica.zoo import akidanet

    for file in sorted(GOLDEN.glob("*.h5")):
        name = file.name.removesuffix(".h5")
        try:
            net = spica.from_quantizeml(file)
        except spica.SpicaError:
            continue
        arrays = np.load(GOLDEN / f"{name}.npz")
        x = [arrays[f"input_{i}"] for i in range(len(net.inputs))]
        yield name, net, x if len(x) > 1 else x[0]
    x = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    for weights, activations in ((8, 8), (4, 8), (4, 4), (2, 4)):
        net = spica.quantize(akidanet(0.25, 32, 10), x, weights=weights, activations=activations)
        yield f"own_w{weights}a{activations}", net, x


def check(folder: Path) -> None:
    import generate  # sets the reference up
    import tf_keras as keras

    wrong = 0
    paths = sorted(folder.glob("*.h5"))
    for path in paths:
        model, arrays = keras.models.load_model(path, compile=False), np.load(str(path)[:-3] + ".npz")
        inputs = [arrays[f"input_{i}"] for i in range(len(model.inputs))]
        generate.reset(model)
        # Layers with memory take one frame at a time; for the others it makes no difference.
        outputs = model.predict(inputs if len(inputs) > 1 else inputs[0], batch_size=1, verbose=0)
        outputs = outputs if isinstance(outputs, list) else [outputs]
        equal = all(np.array_equal(y, arrays[f"output_{i}"]) for i, y in enumerate(outputs))
        wrong += not equal
        if not equal:
            print(f"differs  {path.name}")
    print(f"{len(paths) - wrong} of {len(paths)} equal")
    sys.exit(wrong > 0)


if __name__ == "__main__":
    {"write": write, "check": check}[sys.argv[1]](Path(sys.argv[2]))
