"""Commands on networks: summary, quantize, finetune, adapt, run, evaluate, export."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import spica
from spica.cli.output import Json, emit, read_array, refuse_unread
from spica.deploy import to_quantizeml
from spica.errors import SpicaError
from spica.hardware import cost
from spica.quantization import Recipe
from spica.util.files import write_atomically

NetworkFile = Annotated[
    Path, typer.Argument(help="A network: .spica, .onnx, .keras, .h5, .tflite or model.json.", metavar="NETWORK")
]
Samples = Annotated[Path, typer.Option("--samples", help="Inputs as a .npy array, batch axis first.")]
Labels = Annotated[Path | None, typer.Option(help="Class indices as a .npy array.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="The file to write.")]
Engine = Annotated[str, typer.Option(help="native or reference; the integers are the same.")]
Threads = Annotated[int | None, typer.Option(help="Threads of the native engine; all processors by default.")]


def summary(network: NetworkFile, json: Json = False) -> None:
    """Show a network's layers, types, parameters and multiply-accumulates."""
    net = spica.from_file(network)
    layers = [
        {"name": r.name, "kind": type(r).__name__, "output": str(net.types[r.name]), "macs": net.macs(r)} for r in net
    ]
    emit({"name": net.name, "integer": net.is_integer, "layers": layers}, net.summary(), json)


def import_(
    model: Annotated[Path, typer.Argument(help="A .onnx, .keras, .h5, .tflite or model.json file.", metavar="FILE")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The .spica file to write.")] = None,
    json: Json = False,
) -> None:
    """Take a model file of another tool as a network: float, or integer where quantizeml has quantised it."""
    net = spica.from_file(model)
    output = output or Path(model.stem).with_suffix(".spica")
    net.save(output)
    facts = {"network": str(output), "name": net.name, "integer": net.is_integer, "layers": len(net)}
    emit(facts, f"{net.summary()}\nwritten to {output}", json)


def quantize(
    model: Annotated[Path, typer.Argument(help="A float network: .spica, .onnx, .keras, .h5, .tflite or model.json.")],
    samples: Samples,
    output: Output,
    weights: Annotated[int, typer.Option(help="Bits of the weights.")] = 8,
    activations: Annotated[int, typer.Option(help="Bits of the activations.")] = 8,
    first_layer_weights: Annotated[
        int | None, typer.Option(help="Bits of the weights that read the input; 8 by default.")
    ] = None,
    per_channel_activations: Annotated[bool, typer.Option(help="A step for each channel (second generation).")] = False,
    ranges: Annotated[
        str, typer.Option(help="How ranges are chosen: mse, max, percentile, average or entropy.")
    ] = "mse",
    budget: Annotated[
        str | None,
        typer.Option(help="Choose bits layer by layer under nps=, memory= (KiB), energy= (uJ) or latency= (ms)."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="The device of the budget; AKD1000 by default.")] = None,
    json: Json = False,
) -> None:
    """Quantise a float network after training, with samples to calibrate on."""
    net, x = spica.from_file(model), read_array(samples)
    if budget is None:
        refuse_unread("without --budget", device=device)
        facts: dict[str, Any] = {"weights": weights, "activations": activations}
        bits, text = {**facts, "first_layer_weights": first_layer_weights or 8}, ""
    else:
        refuse_unread("with --budget, which chooses bits layer by layer", first_layer_weights=first_layer_weights)
        found = _recipe(net, x, budget, device or "AKD1000", tuple(w for w in (8, 4, 2) if w <= weights))
        facts, text = {"recipe": found.to_dict()}, f"{found}\n"
        bits = {"weights": found.bits, "activations": found.activations}
    integer = spica.quantize(net, x, **bits, per_channel_activations=per_channel_activations, ranges=ranges)
    integer.save(output)
    facts = {"network": str(output), **facts, "layers": len(integer)}
    emit(facts, f"{text}{integer.summary()}\nwritten to {output}", json)


def _recipe(net: spica.Network, x: NDArray, budget: str, device: str, widths: tuple[int, ...]) -> Recipe:
    """Return bits by layer under a budget like ``nps=40``."""
    quantity, _, limit = budget.partition("=")
    try:
        bound = float(limit)
    except ValueError:
        raise SpicaError(f"budget {budget!r} is not of the form nps=40") from None
    events = x[:32] if x.dtype == np.uint8 else None
    return spica.recipe(net, x, cost(quantity, device, events), bound, widths=widths)


def finetune(
    network: NetworkFile,
    samples: Annotated[Path, typer.Option("--samples", help="Integers that the network reads, as a .npy array.")],
    output: Output,
    labels: Labels = None,
    teacher: Annotated[Path | None, typer.Option(help="The float network that it was made from.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the samples.")] = 3,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of Adam at the start.")] = 1e-3,
    sparsity: Annotated[float, typer.Option(help="Strength of a loss on activity.")] = 0.0,
    checkpoint: Annotated[Path | None, typer.Option(help="A folder from which an interrupted call goes on.")] = None,
    json: Json = False,
) -> None:
    """Fine-tune an integer classifier (quantisation-aware training with Keras)."""
    net, x, y = spica.from_file(network), read_array(samples), read_labels(labels)
    options: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "sparsity": sparsity}
    reference = None if teacher is None else spica.from_file(teacher)
    tuned = spica.finetune(net, x, y, net=reference, checkpoint=checkpoint, **options)
    tuned.save(output)
    facts: dict[str, Any] = {"network": str(output), "epochs": epochs}
    text = f"written to {output}"
    if y is not None:
        facts |= {"accuracy_before": net.evaluate(x, y), "accuracy": tuned.evaluate(x, y)}
        text += f"; accuracy on these samples {facts['accuracy_before']:.2%} before, {facts['accuracy']:.2%} now"
    emit(facts, text, json)


def adapt(
    network: Annotated[Path, typer.Argument(help="A float network, of any of these files.", metavar="NETWORK")],
    samples: Annotated[Path, typer.Option("--samples", help="Unlabelled inputs as a .npy array, batch axis first.")],
    device: Annotated[str, typer.Option("--device", "-d", help="A device of the catalogue, or a .toml file.")],
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The float .spica file to write.")] = None,
    weights: Annotated[int | None, typer.Option(help="Bits of the weights; the most that the device takes.")] = None,
    activations: Annotated[int | None, typer.Option(help="Bits of the activations; the same.")] = None,
    quantized: Annotated[Path | None, typer.Option(help="Write its integers, which the device takes, here.")] = None,
    epochs: Annotated[int, typer.Option(help="Passes over the samples; 0 shows the proposal untrained.")] = 10,
    learning_rate: Annotated[float, typer.Option(help="Learning rate of Adam at the start.")] = 3e-3,
    seed: Annotated[int, typer.Option(help="Of the order of samples, and of which are held back.")] = 0,
    json: Json = False,
) -> None:
    """Change a float network into the nearest that a device takes, and train that to imitate it, without labels."""
    if (weights is None) != (activations is None):
        raise SpicaError("give both --weights and --activations, or neither")
    bits = None if weights is None or activations is None else (weights, activations)
    options: dict[str, Any] = {"epochs": epochs, "learning_rate": learning_rate, "seed": seed}
    made, done = spica.adapt(spica.from_file(network), device, read_array(samples), bits=bits, **options)
    written = [(made, output), (done.quantized, quantized)]
    for net, path in written:
        if path is not None:
            net.save(path)
    lines = [str(done), *(f"written to {path}" for _, path in written if path is not None)]
    emit({"network": output and str(output)} | done.to_dict(), "\n".join(lines), json)
    if not done.report.ok:
        raise typer.Exit(1)


def run(
    network: NetworkFile,
    samples: Samples,
    output: Output,
    engine: Engine = "native",
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Run a network on samples and save its outputs (float32)."""
    net = spica.from_file(network)
    y = net.forward(read_array(samples), engine=engine, threads=threads)
    if isinstance(y, list):
        raise SpicaError(f"{network}: has {len(y)} outputs; use spica.load and forward in Python")
    buffer = io.BytesIO()
    np.save(buffer, y)
    write_atomically(output, buffer.getvalue())
    emit({"output": str(output), "shape": list(y.shape)}, f"outputs of shape {y.shape} written to {output}", json)


def export(
    network: NetworkFile,
    output: Output,
    to: Annotated[str, typer.Option(help="Format: quantizeml (a quantised Keras .h5 file).")] = "quantizeml",
    json: Json = False,
) -> None:
    """Write an integer network as another tool's file, exactly or not at all."""
    if to != "quantizeml":
        raise SpicaError(f"format {to!r} is unknown; choose quantizeml")
    to_quantizeml(spica.from_file(network), output)
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
    net, x, y = spica.from_file(network), read_array(samples), read_array(labels)
    accuracy = net.evaluate(x, y, engine=engine, threads=threads)
    emit({"accuracy": accuracy, "samples": len(x)}, f"accuracy {accuracy:.2%} on {len(x):,} samples", json)


def read_labels(path: Path | None) -> NDArray | None:
    """Return the array in a file of labels, if one is given."""
    return None if path is None else read_array(path)
