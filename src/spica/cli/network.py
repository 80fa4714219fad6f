"""Commands on networks: summary, quantize, run, evaluate."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

import spica
from spica.cli.output import Json, emit, read_array
from spica.errors import SpicaError
from spica.export import to_quantizeml
from spica.network.file import write_atomically

NetworkFile = Annotated[Path, typer.Argument(help="A .spica file.", metavar="NETWORK")]
Samples = Annotated[Path, typer.Option("--samples", help="Inputs as a .npy array, batch axis first.")]
Engine = Annotated[str, typer.Option(help="native or reference; the integers are the same.")]
Threads = Annotated[int | None, typer.Option(help="Threads of the native engine; all processors by default.")]


def summary(network: NetworkFile, json: Json = False) -> None:
    """Show a network's layers, types, parameters and multiply-accumulates."""
    net = spica.load(network)
    layers = [
        {
            "name": layer.name,
            "kind": type(layer).__name__,
            "output": str(net.types[layer.name]),
            "macs": net.facts(layer).macs,
        }
        for layer in net
    ]
    emit({"name": net.name, "integer": net.is_integer, "layers": layers}, net.summary(), json)


def quantize(
    model: Annotated[Path, typer.Argument(help="A float network: a .keras or a .spica file.")],
    samples: Samples,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .spica file to write.")],
    weights: Annotated[int, typer.Option(help="Bits of the weights.")] = 8,
    activations: Annotated[int, typer.Option(help="Bits of the activations.")] = 8,
    first_layer_weights: Annotated[int, typer.Option(help="Bits of the weights that read the input.")] = 8,
    per_channel_activations: Annotated[bool, typer.Option(help="A step for each channel (second generation).")] = False,
    json: Json = False,
) -> None:
    """Quantise a float network after training, with samples to calibrate on."""
    net = load_any(model)
    integer = spica.quantize(
        net,
        read_array(samples),
        weights=weights,
        activations=activations,
        first_layer_weights=first_layer_weights,
        per_channel_activations=per_channel_activations,
    )
    integer.save(output)
    facts = {"network": str(output), "weights": weights, "activations": activations, "layers": len(integer)}
    emit(facts, f"{integer.summary()}\nwritten to {output}", json)


def run(
    network: NetworkFile,
    samples: Samples,
    output: Annotated[Path, typer.Option("--output", "-o", help="The .npy file to write the outputs to.")],
    engine: Engine = "native",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Run a network on samples and save its outputs (float32)."""
    net = spica.load(network)
    y = net.forward(read_array(samples), engine=engine, threads=threads)
    if isinstance(y, list):
        raise SpicaError(f"{network}: has {len(y)} outputs; use spica.load and forward in Python")
    buffer = io.BytesIO()
    np.save(buffer, y)
    write_atomically(output, buffer.getvalue())
    emit(
        {"output": str(output), "shape": list(y.shape)},
        f"outputs of shape {y.shape} written to {output}",
        json,
    )


def export(
    network: NetworkFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write.")],
    to: Annotated[str, typer.Option(help="Format: quantizeml (a quantised Keras .h5 file).")] = "quantizeml",
    json: Json = False,
) -> None:
    """Write an integer network as another tool's file, exactly or not at all."""
    if to != "quantizeml":
        raise SpicaError(f"format {to!r} is unknown; choose quantizeml")
    to_quantizeml(spica.load(network), output)
    emit({"output": str(output), "format": to}, f"written to {output}", json)


def evaluate(
    network: NetworkFile,
    samples: Samples,
    labels: Annotated[Path, typer.Option(help="Class indices as a .npy array.")],
    engine: Engine = "native",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Measure a classifier's accuracy."""
    net, x, y = spica.load(network), read_array(samples), read_array(labels)
    accuracy = net.evaluate(x, y, engine=engine, threads=threads)
    emit({"accuracy": accuracy, "samples": len(x)}, f"accuracy {accuracy:.2%} on {len(x):,} samples", json)


def load_any(path: Path) -> spica.Network:
    """The network in a ``.spica``, ``.keras`` or quantizeml ``.h5`` or ``.onnx`` file."""
    if path.suffix in (".h5", ".onnx"):
        return spica.from_quantizeml(path)
    if path.suffix != ".keras":
        return spica.load(path)
    from spica.zoo.digits import load_keras

    keras = load_keras()
    if not path.is_file():
        raise SpicaError(f"{path}: does not exist; check the path")
    try:
        model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises whatever its many deserialisers raise
        raise SpicaError(f"{path}: Keras cannot load it ({str(error).splitlines()[0]:.200})") from None
    return spica.from_keras(model)
