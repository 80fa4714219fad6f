"""The demo of streaming: moving digits pass a camera of events, and a chip says what it sees, frame by frame."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from numpy.typing import NDArray

import spica
from spica.data import Digits, load_digits, seen_moving
from spica.hardware import MappedNetwork, two_digits
from spica.network import Network
from spica.util.table import table

DEVICE = "Akida2-6"
FRAME_MS = 10
"""Time from one frame to the next."""

SHOWN, LONGEST_PAUSE = 40, 30
"""Digits in the recording, and the most empty frames before one."""

CALIBRATION_CLIPS = 100
BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class Seen:
    """One digit of the recording, with the pause before it.

    Attributes:
        digit, answer: the digit that passed, and the chip's answer once it has.
        frames: number of its frames and those of the pause.
        events: number of events in its frames.
        zeros: share of zeros in the inputs of all layers, over its frames.
        busy_mw, quiet_mw: dynamic power while it passes and in the pause before it (modelled).
        latency_ms: latency of its slowest frame on the chip (modelled).
        bars: events of each frame, as text.
    """

    digit: int
    answer: int
    frames: int
    events: int
    zeros: float
    busy_mw: float
    quiet_mw: float
    latency_ms: float
    bars: str


def show(out: Path, epochs: int, seed: int) -> tuple[dict[str, Any], str]:
    """Train a temporal network, then stream a long recording through it, printing what it sees as it comes.

    The training takes half of the epochs, and the recording is drawn by the seed as well.
    """
    from rich.console import Console

    start = time.perf_counter()
    digits = load_digits()
    qnet = network(digits, epochs, seed)
    qnet.save(out / "moving.spica")
    chip = spica.map(qnet, DEVICE)
    console = Console(stderr=True)
    seen = []
    for one in watch(chip, digits, seed):
        seen.append(one)
        if console.is_terminal:
            verdict = "[green]right[/]" if one.answer == one.digit else f"[red]it was {one.digit}[/]"
            console.print(f"sees {one.answer}  {one.bars}  {one.busy_mw:5.2f} mW  {one.zeros:.0%} zeros  {verdict}")
    facts = to_facts(qnet, digits, seen) | {"seconds": time.perf_counter() - start}
    facts["files"] = {"network": str(out / "moving.spica")}
    return facts, as_text(facts)


def network(digits: Digits, epochs: int, seed: int) -> Network:
    """Return the trained network with eight-bit integers."""
    from spica.zoo.recipes.moving import train_moving_digit_classifier

    net = spica.from_keras(train_moving_digit_classifier(digits, max(epochs // 2, 1) if epochs > 0 else epochs, seed))
    samples = seen_moving(digits.train_x[:CALIBRATION_CLIPS]).astype(np.float32)
    return spica.quantize(net, samples, bias_correction=False)  # which would give layers a bias, and rest events


def watch(chip: MappedNetwork, digits: Digits, seed: int) -> Iterator[Seen]:
    """Push a recording of test digits with pauses through the chip; yield each digit when it has passed."""
    random = np.random.default_rng(seed)
    net = chip.network
    kind = net.types[net.inputs[0].name]
    empty = np.zeros((1, *kind.shape), kind.dtype)
    with chip.stream(threads=1) as stream:
        for index in random.integers(0, len(digits.test_x), SHOWN):
            pause = int(random.integers(net["temporal"].frames, LONGEST_PAUSE))  # type: ignore[attr-defined]
            quiet = []
            for _ in range(pause):
                stream.push(empty)
                quiet.append(chip.statistics)
            outputs, events, busy = np.zeros(10), [], []
            for frame in spica.to_input_integers(net, seen_moving(digits.test_x[index : index + 1])[0]):
                outputs += stream.push(frame[None])[0]
                events.append(int(np.count_nonzero(frame)))
                busy.append(chip.statistics)
            yield Seen(
                digit=int(digits.test_y[index]),
                answer=int(np.argmax(outputs)),
                frames=len(events) + pause,
                events=sum(events),
                zeros=mean(s.sparsity for s in busy),
                busy_mw=mean(s.dynamic_energy_uj / FRAME_MS for s in busy),
                quiet_mw=mean(s.dynamic_energy_uj / FRAME_MS for s in quiet),
                latency_ms=max(s.latency_ms for s in busy),
                bars="".join(BARS[min(count * len(BARS) // 160, len(BARS) - 1)] for count in events),
            )


def to_facts(qnet: Network, digits: Digits, seen: list[Seen]) -> dict[str, Any]:
    """Return the demo's result as plain data; time the engine on frames of digits and on empty ones."""
    clips = spica.to_input_integers(qnet, seen_moving(digits.test_x))
    frames = clips[:40].reshape(-1, 1, *clips.shape[2:])
    return {
        "accuracy_8bit": qnet.evaluate(clips, digits.test_y),
        "clips": len(clips),
        "digits": len(seen),
        "right": sum(one.answer == one.digit for one in seen),
        "frames": sum(one.frames for one in seen),
        "frame_ms": FRAME_MS,
        **{name: mean(getattr(one, name) for one in seen) for name in ("zeros", "busy_mw", "quiet_mw")},
        "latency_ms": max(one.latency_ms for one in seen),
        "engine_frame_us": frame_us(qnet, frames),
        "engine_empty_frame_us": frame_us(qnet, np.zeros_like(frames)),
        "device": DEVICE,
        "seen": [asdict(one) for one in seen],
    }


def frame_us(net: Network, frames: NDArray) -> float:
    """Return the microseconds that the engine takes for one of the frames ``(N, 1, ...)``."""
    with net.stream(threads=1) as stream:
        for frame in frames:
            stream.push(frame)
        return 1e3 * stream.latency_ms


def as_text(facts: dict[str, Any]) -> str:
    """Return the facts as a table."""
    rows: list[tuple[str, ...]] = [
        ("moving digits", f"{facts['right']} of {facts['digits']} right, live on a virtual {facts['device']}"),
        ("accuracy, 8-bit", f"{facts['accuracy_8bit']:.2%} of {facts['clips']} clips (events simulated from digits)"),
        ("recording", f"{facts['frames']} frames of {facts['frame_ms']} ms"),
        ("zeros between layers", f"{facts['zeros']:.1%} while a digit passes"),
        ("dynamic power, digit", f"{two_digits(facts['busy_mw'])} mW (modelled)"),
        ("dynamic power, pause", f"{two_digits(facts['quiet_mw'])} mW (modelled)"),
        ("latency of a frame", f"{two_digits(facts['latency_ms'])} ms on the chip (modelled)"),
        ("engine, a frame", f"{facts['engine_frame_us']:.0f} us (measured)"),
        ("engine, an empty frame", f"{facts['engine_empty_frame_us']:.0f} us (measured)"),
        ("time taken", f"{facts['seconds']:.0f} s (training included)"),
        *facts["files"].items(),
    ]
    return table(rows)
