"""Threads, forks and interrupts: whoever shares a network, a stream or a learner gets right answers or a refusal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import spica
from spica.layers import BufferTempConv, Dequantize, Input, Requantize
from spica.network import Network
from support.chip_networks import conv, dense, flatten, network
from support.profiles import FACTOR

CALLS, THREADS = 25 * FACTOR, 8


def temporal() -> Network:
    """Two layers that remember frames."""
    r = np.random.default_rng(0)
    stage = Requantize(multiplier=np.array(120), shift=np.array(9), bits=8, signed=True, frac_bits=np.array(2))
    layers = [Input(name="in", shape=(3, 3, 2), bits=8, signed=True)]
    for i in range(2):
        kernel = r.integers(-8, 8, (3, 2, 2)).astype(np.int8)
        layers.append(
            BufferTempConv(
                name=f"t{i}", inputs=(layers[-1].name,), kernel=kernel, weight_bits=8,
                weight_scale=np.ones(2, np.float32), requantize=stage,
            )
        )  # fmt: skip
    return Network((*layers, Dequantize(name="out", inputs=("t1",))), ("out",))


def in_process(code: str) -> str:
    """Output of a Python process that runs ``code`` after the imports, or its error."""
    head = "import os, threading\nimport numpy as np\nfrom support.chip_networks import conv, dense, flatten, network\n"
    head += "net = network((16, 16, 3), conv(8), flatten(), dense(10)); x = np.zeros((40, 16, 16, 3), np.uint8)\n"
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.pathsep.join([tests, os.path.dirname(os.path.dirname(spica.__file__))])
    environment = {**os.environ, "PYTHONPATH": path}
    command = [sys.executable, "-c", head + textwrap.dedent(code)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    return done.stdout.strip() or done.stderr


def test_a_child_runs_though_another_thread_was_running_when_it_was_forked():
    code = """
        stop = False
        def busy():
            while not stop: net.forward(x, threads=2)
        others = [threading.Thread(target=busy) for _ in range(2)]
        for other in others: other.start()
        hung = 0
        for _ in range(8):
            child = os.fork()
            if not child:
                import signal; signal.alarm(20); net.forward(x, threads=2); os._exit(0)
            hung += os.waitpid(child, 0)[1] != 0
        stop = True
        print(hung)
        os._exit(0)
    """
    assert in_process(code) == "0"


def test_fewer_threads_do_where_the_system_gives_no_more():
    if os.geteuid():
        pytest.skip("needs a limit that only root can set for another user")
    code = """
        import resource
        want = net.forward(x, engine="reference")
        resource.setrlimit(resource.RLIMIT_NPROC, (1, 1)); os.setgid(65534); os.setuid(65534)
        print((net.forward(x, threads=6) == want).all())
    """
    assert in_process(code) == "True"


def test_many_threads_once_do_not_slow_what_follows():
    code = """
        import time
        def taken():
            start = time.perf_counter()
            for _ in range(50): net.forward(x[:2], threads=2)
            return time.perf_counter() - start
        taken(); before = min(taken() for _ in range(3))
        net.forward(x, threads=1024)
        print(min(taken() for _ in range(3)) < 20 * before)
    """
    assert in_process(code) == "True"


def test_threads_share_networks_and_chips():
    net = network((8, 8, 3), conv(4), flatten(), dense(3))
    chip = spica.map(net, "AKD1000")
    x = np.random.default_rng(1).integers(0, 256, (THREADS, 4, 8, 8, 3)).astype(np.uint8)
    wanted = [net.forward(part, engine="reference") for part in x]

    def work(i: int) -> bool:
        return all(
            np.array_equal(run.forward(x[i], threads=1 + k % 3), wanted[i]) for k in range(CALLS) for run in (net, chip)
        )

    with ThreadPoolExecutor(THREADS) as pool:
        assert all(pool.map(work, range(THREADS)))


def test_threads_share_a_stream_frame_by_frame():
    net = temporal()
    frames = np.random.default_rng(2).integers(-128, 128, (THREADS * CALLS, 3, 3, 2)).astype(np.int8)
    with net.stream() as shared:
        seen: list[tuple[int, np.ndarray]] = []
        lock, order = threading.Lock(), iter(range(len(frames)))

        def work(_: int) -> None:
            for _ in range(CALLS):
                with lock:  # the order in which frames go in, which the stream itself leaves to its callers
                    i = next(order)
                    seen.append((i, shared.push(frames[i : i + 1])))
                shared.state()

        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
        assert shared.frames == len(frames)
    wanted = net.forward(frames)
    for i, output in seen:
        np.testing.assert_array_equal(output[0], wanted[i])


@pytest.mark.parametrize("rule", ["swap", "prototype"])
def test_threads_share_a_learner(rule):
    r = np.random.default_rng(3)
    learner = spica.learn(
        network((6, 6, 3), conv(8, activations=1, weights=2), flatten()), 3, rule=rule, neurons_per_class=4,
        weights_per_neuron=40,
    )  # fmt: skip
    x, y = r.integers(0, 256, (40, 6, 6, 3)).astype(np.uint8), r.integers(0, 3, 40)

    def work(i: int) -> None:
        for _ in range(max(CALLS // 10, 2)):
            learner.partial_fit(x, y, threads=1)
            assert learner.predict(x[:2]).shape == (2,)
            assert (learner.layer.kernel.sum(axis=0) == 40).all()
            assert learner.network is not None

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, range(THREADS)))
    assert learner.layer.learned.sum() == THREADS * max(CALLS // 10, 2) * len(x)


def test_an_interrupted_push_has_moved_all_of_a_stream_on_or_nothing():
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals come to the main thread")

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    net, r = temporal(), np.random.default_rng(4)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with net.stream() as stream, net.stream() as other:
            for _ in range(4 * CALLS):
                frame = r.integers(-128, 128, (1, 3, 3, 2)).astype(np.int8)
                start, count = stream.state(), stream.frames
                other.restore(start)
                other.push(frame)
                try:
                    signal.setitimer(signal.ITIMER_REAL, r.uniform(1e-5, 5e-4))
                    stream.push(frame)
                    time.sleep(1e-3)
                except KeyboardInterrupt:
                    pass
                finally:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                moved = stream.frames - count
                assert moved in (0, 1)
                for name, arrays in (other.state() if moved else start).items():
                    for a, b in zip(arrays, stream.state()[name]):
                        np.testing.assert_array_equal(a, b)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_state_with_numbers_that_it_never_has_is_refused():
    with temporal().stream() as stream:
        stream.push(np.ones((1, 3, 3, 2), np.int8))
        state = stream.state()
        name = next(iter(state))
        with pytest.raises(spica.SpicaError, match="not a state of this network"):
            stream.restore({**state, name: tuple(a.astype(np.int64) for a in state[name])})
