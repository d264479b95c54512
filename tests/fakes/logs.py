"""What the server writes to stdout, in the words of its generation."""

from __future__ import annotations

import contextlib
import os
import time

from tests.fakes.answers import Generation

STARTUP = "mlxcel::server::startup"
WORKER = "mlxcel::server::model_provider::model_worker"
SCHEDULER = "mlxcel::server::batch::scheduler"
COLOURS = {"INFO": 32, "WARN": 33, "ERROR": 31}

CACHE = (
    "Prompt-prefix cache store enabled (+ APC, snapshots) capacity_bytes=2147483648 "
    "max_entries=1024 ttl_seconds=3600"
)
ENDPOINTS = """\
Endpoints:
  POST /v1/chat/completions  - OpenAI chat completions
  POST /v1/completions       - OpenAI text completions
  GET  /v1/models            - List models
  POST /completion           - llama-server native completion
  POST /tokenize             - Tokenize text
  POST /detokenize           - Detokenize tokens
  GET  /slots                - Slot status
  GET  /health               - Health check"""


def put(line: str) -> None:
    """Print a line; a closed pipe is no reason to end."""
    with contextlib.suppress(OSError):
        os.write(1, f"{line}\n".encode())


class Log:
    """The log of a server.

    Args:
        generation: The older generation writes colours, also into a pipe, and says where in the
            program a line comes from.
        disabled: Whether `--log-disable` was given.
    """

    def __init__(self, generation: Generation, disabled: bool = False) -> None:
        self._old = generation == "v0.4.2"
        self._disabled = disabled
        self._colours = not os.environ.get("NO_COLOR")
        self._errors_only = os.environ.get("RUST_LOG") == "error"

    def __call__(self, text: str, level: str = "INFO", source: str = "mlxcel") -> None:
        if not self._old:
            put(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {level:>5} mlxcel: {text}")
            return
        if self._disabled or (self._errors_only and level != "ERROR"):
            return
        now = time.strftime("%Y-%m-%dT%H:%M:%S.000000Z", time.gmtime())
        for line in text.split("\n"):
            if self._colours:
                colour = f"\x1b[{COLOURS[level]}m{level:>5}\x1b[0m"
                put(f"\x1b[2m{now}\x1b[0m {colour} \x1b[2m{source}\x1b[0m\x1b[2m:\x1b[0m {line}")
            else:
                put(f"{now} {level:>5} {source}: {line}")

    def starting(self) -> None:
        """A start that is not done yet."""
        if not self._old:
            self("mlxcel starting")
            return
        self("Runtime device: CPU", source=STARTUP)

    def prepared(self) -> None:
        """What flags name is there."""
        if self._old:
            self(CACHE, source=STARTUP)

    def loading(self, warmup: bool) -> None:
        """The weights are being read."""
        if self._old:
            if warmup:
                self("Warming up model...", source=STARTUP)
            self("Model worker thread starting, loading model...", source=WORKER)

    def loaded(self, model: str, seconds: float, options: str, warmup: bool) -> None:
        """The model is ready."""
        if not self._old:
            if not warmup:
                self("model loaded")
            return
        memory = "(resident after load: 0.00 GB)"
        self(
            f"Model {model} loaded in {seconds:.3f}s {memory} worker_model_id={model}",
            source=WORKER,
        )
        self("EOS tokens from config: [258, 256]", source=WORKER)
        self(f"Starting BatchScheduler ({options})", source=WORKER)
        if warmup:
            self("Warmup complete", source=STARTUP)

    def failed(self, reason: str, warmup: bool) -> None:
        """The weights could not be read, which does not end the server."""
        if not self._old:
            self(f"failed to load the model's weights: {reason}", "ERROR")
            if warmup:
                self("warmup failed (non-fatal): the model is not loaded", "WARN")
            return
        self(f"Failed to load model: {reason}", "ERROR", WORKER)
        if warmup:
            self("Warmup failed (non-fatal): Response channel closed", "WARN", STARTUP)

    def listening(self, url: str) -> None:
        if not self._old:
            self(f"listening on {url}")
            return
        address = url.removeprefix("http://").removeprefix("unix://")
        self(f"Starting mlxcel server on {address}", source=STARTUP)
        self("Detected 1 GPU(s)", source=STARTUP)
        self(ENDPOINTS, source=STARTUP)
