"""The scripted server as a program.

It takes the command line of `mlxcel serve` (or, without the word `serve`, of `mlxcel-server`) and
misbehaves as the `FAKE_*` variables say; see `main`. It needs the standard library only.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

if __name__ == "__main__":
    # Python puts the folder of a program on the path, not the one above it.
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from tests.fakes.answers import Generation, Json
from tests.fakes.logs import SCHEDULER, Log, put
from tests.fakes.model_files import (
    MISSING,
    downloaded,
    load_error,
    start_error,
    store,
    tokenizer_error,
)
from tests.fakes.replies import Reply
from tests.fakes.server import FakeServer


def executable(
    directory: Path, name: str = "mlxcel", *, wrapper: bool = False, **environment: str
) -> Path:
    """Write a shell script that runs this file as a program.

    Args:
        directory: Where to put the script.
        name: Its file name.
        wrapper: Keep the shell as the parent, so that a signal to it does not reach the server.
        environment: `FAKE_*` and other variables for the program.
    """
    variables = [f"{key}={value}" for key, value in environment.items()]
    command = ["env", *variables, sys.executable, "-E", "-S", str(Path(__file__).resolve())]
    line = f'{shlex.join(command)} "$@"'
    path = directory / name
    path.write_text(f"#!/bin/sh\n{line}\nexit $?\n" if wrapper else f"#!/bin/sh\nexec {line}\n")
    path.chmod(0o755)
    return path


# Flags that change nothing here, with a value and without.
VALUES = """--models-dir --api-key-file --max-batch-size --timeout --chat-template
    --chat-template-file --chat-template-kwargs --reasoning-budget --draft-model --model-draft
    --draft-max --draft-kind --draft-block-size --adapter --lora --log-file --allowed-origins
    --max-image-payload-size --max-images --max-image-width --max-image-height --max-kv-size
    --prompt-cache-capacity-bytes --prompt-cache-max-entries --prompt-cache-ttl --kv-cache-budget
    --prompt-cache-min-prefix --max-image-decode-alloc-bytes --temp --top-k --top-p --min-p
    --repeat-penalty --repeat-last-n --presence-penalty --frequency-penalty --n-gpu-layers"""
SWITCHES = """--no-batch --metrics --log-disable --prompt-cache-enabled --no-prompt-cache --force
    --no-memory-check --no-mmap"""
NEWEST_VALUES = """ --model-store-root --decode-timeout --sse-ping-interval --threads-http
    --ssl-cert-file --ssl-key-file --reasoning --reasoning-format --reasoning-effort
    --embedding-batch-size --embedding-max-length --embedding-queue-depth --rerank-batch-size
    --embedding-request-timeout-secs --pooling --embd-normalize --slot-save-path
    --sleep-idle-seconds --tags --verbosity --log-verbosity --log-colors"""
NEWEST_SWITCHES = """ --reuse-port --reasoning-preserve --skip-chat-parsing --jinja --settings
    --prefill-assistant --no-prefill-assistant --kv-unified --no-log-prefix
    --no-log-timestamps"""


class OldParser(argparse.ArgumentParser):
    """A command line whose errors are told in the words of the older server."""

    def error(self, message: str) -> NoReturn:
        usage = "Usage: mlxcel serve [OPTIONS] --model <PATH_OR_REPO_ID>\n\n"
        if found := re.match(r"unrecognized arguments: (\S+)", message):
            message = f"unexpected argument '{found[1]}' found\n\n{usage}"
        elif found := re.match(r"argument (?:\S+/)?(--\S+): invalid int value: '(.*)'", message):
            name = f"{found[1]} <{found[1][2:].replace('-', '_').upper()}>"
            message = f"invalid value '{found[2]}' for '{name}': invalid digit found in string\n\n"
        elif "required" in message:
            names = "  --model <PATH_OR_REPO_ID>"
            message = f"the following required arguments were not provided:\n{names}\n\n{usage}"
        sys.stderr.write(f"error: {message}For more information, try '--help'.\n")
        sys.exit(2)


def make_parser(generation: Generation, *, serve: bool) -> argparse.ArgumentParser:
    """The command line of `mlxcel serve`, or of `mlxcel-server`; both read `LLAMA_ARG_*`."""
    old = generation == "v0.4.2"
    parser = (OldParser if old else argparse.ArgumentParser)(
        "mlxcel serve" if serve else "mlxcel-server", allow_abbrev=False
    )

    def add(*names: str, env: str = "", default: Any = None, kind: type = str) -> None:
        value = os.environ.get(f"LLAMA_ARG_{env}" if env else "", default)
        parser.add_argument(*names, default=value, type=kind)

    def short(name: str) -> list[str]:
        return [] if serve else [name]

    add("-m", "--model", env="MODEL")
    add("--host", env="HOST", default="127.0.0.1")
    add("--port", env="PORT", default=8080, kind=int)
    add("-a", "--alias", env="ALIAS")
    add("--api-key")
    add(*short("-c"), "--ctx-size", env="CTX_SIZE", default=0, kind=int)
    add(*short("-n"), "--n-predict", env="N_PREDICT", default=-1, kind=int)
    parallel = "--n-parallel" if serve else "--parallel"
    parser.add_argument(
        parallel, dest="n_parallel", type=int, default=os.environ.get("LLAMA_ARG_N_PARALLEL", 4)
    )
    add("--max-batch-prefill", default=4, kind=int)
    add("--max-queue-depth", default=32, kind=int)
    add("-s", "--seed")
    add("-b", "--batch-size")
    for name in ("warmup", "slots"):
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--props", action="store_true")
    parser.add_argument("-v", "--verbose", action="store_true")
    newest = generation == "newest"
    if newest:
        add("--api-prefix", env="API_PREFIX", default="")
        add("--embedding-model")
        add("--reranker-model")
    for name in (VALUES + NEWEST_VALUES * newest).split():
        add(name)
    for name in (SWITCHES + NEWEST_SWITCHES * newest).split():
        parser.add_argument(name, action="store_true")
    return parser


def flag_surface(parser: argparse.ArgumentParser) -> Json:
    """What `mlxcel serve --dump-flag-surface` prints on the newest generation."""
    flags = []
    for action in parser._actions:
        longs = [name[2:] for name in action.option_strings if name.startswith("--")]
        shorts = [name[1:] for name in action.option_strings if not name.startswith("--")]
        flag = {"long": longs[0], "long_aliases": longs[1:], "short": next(iter(shorts), None)}
        flags.append({**flag, "takes_value": action.nargs is None, "hidden": False})
    return {"schema_version": 1, "binary": "mlxcel", "args": flags}


FRAMES = [
    "anyhow::error::<impl anyhow::Error>::msg",
    "mlxcel::commands::serve::run_serve::{{closure}}",
    *["tokio::runtime::task::harness::poll_future"] * 43,
]


def fail(message: str) -> NoReturn:
    """End with an error; the older server puts the calls that led to it below, on demand."""
    sys.stderr.write(f"Error: {message}\n")
    old = os.environ.get("FAKE_GENERATION") == "v0.4.2"
    if old and os.environ.get("RUST_BACKTRACE") == "1":
        calls = [f"{number:>4}: {frame}" for number, frame in enumerate(FRAMES)]
        sys.stderr.write("\n".join(["", "Stack backtrace:", *calls, ""]))
    sys.exit(int(os.environ.get("FAKE_EXIT_CODE", "1")))


def flood(count: int, newlines: bool) -> None:
    """Fill stdout and stderr with `count` bytes each, some of them not UTF-8."""
    line = b"noise \xff\xfe caf\xc3\xa9 " * 3 + (b"\n" if newlines else b" ")
    for at in range(0, count, len(line)):
        for descriptor in (1, 2):
            os.write(descriptor, line[: count - at])


def note(event: str) -> None:
    """Append what happens now to the file that `FAKE_TIMES` names, if it names one."""
    if path := os.environ.get("FAKE_TIMES"):
        # The one clock that all processes of a machine share.
        line = json.dumps({"event": event, "at": time.monotonic()})
        with Path(path).open("a") as file:
            file.write(line + "\n")


def write_pid_file(path: Path) -> None:
    """Append one JSON line about this process, so that a test can count starts."""
    child = None
    if os.environ.get("FAKE_CHILD"):
        child = subprocess.Popen(["sleep", "600"]).pid
    prefixes = ("FAKE_", "HF_", "LLAMA_", "MLXCEL_")
    environment = {key: value for key, value in os.environ.items() if key.startswith(prefixes)}
    own = {"pid": os.getpid(), "ppid": os.getppid(), "pgid": os.getpgrp(), "child": child}
    with path.open("a") as file:
        file.write(json.dumps({**own, "argv": sys.argv[1:], "environment": environment}) + "\n")


def listen_address(generation: Generation, host: str, port: int) -> Json:
    """Which of Unix socket and TCP the two flags mean; the generations disagree."""
    if generation == "v0.4.2":
        return {"socket": host} if port == 0 else {"host": host, "port": port}
    if not host:
        fail("host must not be empty")
    if host.endswith(".sock"):
        return {"socket": host}
    if port == 0 and "/" in host:
        Log(generation)("a socket path should end in .sock", "WARN")
        return {"socket": host}
    return {"host": host, "port": port}


def check_model(model: str, generation: Generation) -> None:
    if generation == "v0.4.2":
        if reason := start_error(model):
            fail(reason)
    elif model.startswith(("/", ".", "~")) and not Path(model).exists():
        fail(f"model path not found: {model}\n\nCaused by:\n    No such file or directory")


def check_files(options: argparse.Namespace, generation: Generation) -> None:
    """End the start because of what flags of the older server name or say."""
    if generation == "newest":
        return
    for flag, what in (("api_key_file", "API key"), ("chat_template_file", "chat template")):
        path = getattr(options, flag)
        if path and not Path(path).exists():
            fail(f'Failed to read {what} file: "{path}"{MISSING}')
        if path and what == "API key" and not Path(path).read_text().strip():
            fail(f'API key file "{path}" is empty')
    if reason := tokenizer_error(options.model):
        fail(reason)


def check_template_kwargs(options: argparse.Namespace, generation: Generation) -> None:
    if generation == "newest":
        return
    try:
        json.loads(options.chat_template_kwargs or "{}")
    except ValueError:
        flag, reason = "--chat-template-kwargs", "key must be a string at line 1 column 2"
        fail(f"{flag}: chat_template_kwargs must be valid JSON: {reason}")


def load(model: str, seconds: float) -> None:
    """Take as long as loading takes; a repo is downloaded first, which shows on stdout."""
    lines = json.loads(os.environ.get("FAKE_LOG_LINES", "[]"))
    if not lines and "/" in model and not Path(model).exists():
        lines = [
            f"[mlxcel] model '{model}' not found locally; downloading into the mlxcel store..."
        ]
        for at, name in enumerate(("config.json", "tokenizer.json", "model.safetensors"), 1):
            lines += [f"[{at}/3] downloading: {name}", f"[{at}/3] done: {name} (1.00 KiB in 0.1s)"]
        lines.append("[mlxcel download] complete: downloaded=3 cached=0 total_size=3.00 KiB")
    for line in lines:
        put(line)
        time.sleep(seconds / len(lines))
    if not lines:
        time.sleep(seconds)


HEALTH = {
    "silent": Reply.hang(),
    "close": Reply.close(),
    "garbage": Reply.raw(b"\0\xff no HTTP\r\n\r\n"),
    "302": Reply.plain(302, headers={"location": "http://127.0.0.1:9/login"}),
}
"""How `/health` can misbehave other than by a status."""


def list_models(way: str) -> None:
    """Do what `mlxcel list --json` does, or misbehave."""
    match way:
        case "hangs":
            # It leaves its output open to a process of its own, too.
            subprocess.run(["sleep", "600"], check=False)
        case "floods":
            while True:
                sys.stdout.write("[" * 65536)
        case "fails":
            sys.exit(2)
        case "":
            print(json.dumps(downloaded(store()), indent=2))
        case text:
            print(text)


def main() -> None:
    """Run as `mlxcel` would, misbehaving as the environment says.

    FAKE_GENERATION: "v0.4.2" or "newest" (the default).
    FAKE_LOAD_SECONDS: How long loading takes; it delays the bind, or with `--no-warmup` the health.
    FAKE_LOG_LINES: Print the strings of this JSON list meanwhile, evenly.
    FAKE_FAIL: Print `Error: <this>` on stderr and exit 1 after loading.
    FAKE_EXIT_CODE: Exit with this code instead; without FAKE_FAIL, say nothing.
    FAKE_WEIGHTS_FAIL: Say that the weights cannot be loaded when that is over, and stay up, with a
        health of 503 for ever.
    FAKE_TEMPLATE_ERROR: The chat template fails with this error.
    FAKE_IGNORE_SIGTERM: Do so.
    FAKE_STDOUT_BYTES: Write so many bytes on stdout and on stderr before the bind.
    FAKE_STDOUT_NEWLINES: "0" writes them as one line.
    FAKE_CRASH_AFTER: Answer so many generation requests, then die by SIGKILL inside an answer.
    FAKE_PIDFILE: Append a JSON line with pid, argv and some variables to this file.
    FAKE_TOKEN_SECONDS: Pause so long between the tokens of an answer.
    FAKE_HEALTH: Answer `/health` with this status, or in one of the ways of `HEALTH`.
    FAKE_HEALTH_SECONDS: Do so for this time after the bind, and not for ever.
    FAKE_TIMES: Append a JSON line with the time to this file when it is "ready", when a request
        arrives (its method and path), and when it is about to "end" by a switch above.
    FAKE_LIST: What `list --json` prints instead of the downloaded models; or it "hangs", "floods"
        or "fails".
    FAKE_CHILD: Start a `sleep` that inherits our pipes; its pid is in that line.
    """
    env = os.environ
    # Python handles SIGINT and the server does not: the default action ends it at once.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if env.get("FAKE_IGNORE_SIGTERM"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # A test that loses this process must not leave it behind for ever.
    signal.alarm(3600)
    generation: Generation = "v0.4.2" if env.get("FAKE_GENERATION") == "v0.4.2" else "newest"
    words = sys.argv[1:]
    if words == ["--version"]:
        print("mlxcel 0.4.2" if generation == "v0.4.2" else "mlxcel 0.5.0")
        return
    if words == ["list", "--json"]:
        list_models(env.get("FAKE_LIST", ""))
        return
    serve = words[:1] == ["serve"]
    parser = make_parser(generation, serve=serve)
    if serve and words[1:2] == ["--dump-flag-surface"] and generation == "newest":
        print(json.dumps(flag_surface(parser)))
        return
    options = parser.parse_args(words[1:] if serve else words)
    if not 0 <= options.port <= 65535:
        value = f"invalid value '{options.port}' for '--port <PORT>'"
        parser.error(f"{value}: {options.port} is not in 0..=65535\n\n")
    if not options.model:
        parser.error("the following required arguments were not provided: --model <MODEL>")
    if "FAKE_PIDFILE" in env:
        write_pid_file(Path(env["FAKE_PIDFILE"]))
    run(options, generation)


def run(options: argparse.Namespace, generation: Generation) -> NoReturn:
    """Load, bind and serve until a signal ends the process."""
    env = os.environ
    log = Log(generation, options.log_disable)
    seconds = float(env.get("FAKE_LOAD_SECONDS", "0"))
    fails = "FAKE_FAIL" in env or "FAKE_EXIT_CODE" in env
    check_context(options)
    check_model(options.model, generation)
    check_template_kwargs(options, generation)
    log.starting()
    check_files(options, generation)
    log.prepared()
    weights = load_error(options.model) if generation == "v0.4.2" else None
    if "FAKE_WEIGHTS_FAIL" in env:
        weights = "unsupported tensor"
    server = make_server(options, generation)
    if generation == "v0.4.2":
        server.log = log
    server.note = note

    def load_model() -> None:
        log.loading(options.warmup)
        load(options.model, seconds)
        if weights:
            log.failed(weights, options.warmup)
        else:
            sizes = (
                f"max_batch_size={server.total_slots}, max_queue_depth={options.max_queue_depth}"
            )
            log.loaded(server.model_id, seconds, sizes, options.warmup)

    if options.warmup or fails:
        load_model()
    flood(int(env.get("FAKE_STDOUT_BYTES", "0")), env.get("FAKE_STDOUT_NEWLINES") != "0")
    if fails:
        note("end")
    if "FAKE_FAIL" in env:
        fail(env["FAKE_FAIL"])
    if fails:
        sys.exit(int(env["FAKE_EXIT_CODE"]))
    server.loading = not options.warmup
    server.load_failed = bool(weights) and options.warmup
    health = env.get("FAKE_HEALTH")
    if health is not None:
        server.route("/health", HEALTH[health] if health in HEALTH else Reply.plain(int(health)))
    old = generation == "v0.4.2"
    if old:
        # It says so before it binds, which may fail.
        log.listening(server.url.replace("None", str(options.port)))
    try:
        server.start()
    except OSError as error:
        if old:
            log("BatchScheduler received shutdown signal", source=SCHEDULER)
            fail(f"{os.strerror(error.errno or 0)} (os error {error.errno})")
        fail(f"failed to bind {options.host}\n\nCaused by:\n    {error}")
    if not old:
        log.listening(server.url)
    if not server.loading and not server.load_failed:
        note("ready")
    if "FAKE_HEALTH_SECONDS" in env:
        time.sleep(float(env["FAKE_HEALTH_SECONDS"]))
        server.unroute("/health")
    if not options.warmup:
        load_model()
        server.load_failed = bool(weights)
        server.loading = False
        if not weights:
            note("ready")
    while True:
        time.sleep(3600)


def check_context(options: argparse.Namespace) -> None:
    """Each slot must have 512 tokens."""
    each = options.ctx_size // options.n_parallel
    if options.ctx_size > 0 and each < 512:
        many = f"divided across {options.n_parallel} active slot(s) gives {each} tokens per slot"
        least = "below the minimum supported per-slot context size of 512"
        advice = "increase --ctx-size, reduce --parallel/--max-batch-size, or use --no-batch"
        fail(f"--ctx-size {options.ctx_size} {many}, {least}; {advice} for single-slot serving")


def make_server(options: argparse.Namespace, generation: Generation, **listen: Any) -> FakeServer:
    """A server that was told the flags; `listen` is where it listens instead of there."""
    env = os.environ
    model_id = options.alias or Path(options.model).name
    models: list[Json] = [{"id": model_id, "capabilities": ["completion"]}]
    for flag, capability in (("embedding_model", "embedding"), ("reranker_model", "rerank")):
        if path := getattr(options, flag, None):
            models.append({"id": Path(path).name, "capabilities": [capability]})
    server = FakeServer(
        generation,
        **(listen or listen_address(generation, options.host, options.port)),
        model_id=model_id,
        api_key=options.api_key or env.get("LLAMA_API_KEY"),
        context_size=options.ctx_size // options.n_parallel or None,
        slots=options.n_parallel,
        models=models if len(models) > 1 else None,
        start=False,
    )
    server.scheduler.max_batch_prefill = options.max_batch_prefill
    server.scheduler.max_queue_depth = options.max_queue_depth
    if options.no_batch:
        server.scheduler.slots = 0
    server.n_predict = options.n_predict
    server.template_error = env.get("FAKE_TEMPLATE_ERROR")
    server.cache = not options.no_prompt_cache
    server.api_prefix = getattr(options, "api_prefix", "")
    server.props = options.props
    server.slots_endpoint = options.slots
    server.token_seconds = float(env.get("FAKE_TOKEN_SECONDS", "0"))
    if "FAKE_CRASH_AFTER" in env:
        server.crash_after = int(env["FAKE_CRASH_AFTER"])
    return server


if __name__ == "__main__":
    main()
