"""Lines of a log tell level, text, progress, and a model that cannot be loaded."""

from __future__ import annotations

import pytest

from mlxcel_integrations.supervisor.log_lines import (
    Progress,
    is_loading,
    is_model_missing,
    load_failure,
    read_progress,
    split_line,
    template_failure,
)

LOADING = Progress("loading weights", None, False)
FAILED = "2026-11-23T02:00:00.123456Z ERROR mlxcel::server: Failed to load model: no such tensor"
WARMUP = "2026-11-23T02:00:00.123456Z  WARN mlxcel::server: warmup failed (non-fatal): no model"


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-11-23T02:00:00Z  INFO mlxcel: x", "I"),
        ("[2026-11-23 02:00:00,123] WARNING x", "W"),
        ("ERROR x", "E"),
        ("0.00.123.456 E x", "E"),
        ("x", None),
        ("", None),
    ],
)
def test_a_line_has_the_first_letter_of_its_level(line: str, level: str | None) -> None:
    assert level == split_line(line)[0]


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("2026-11-23T02:00:00.123456Z  INFO mlxcel::server::startup: loading", "loading"),
        ("2026-11-23T02:00:00Z  INFO mlxcel: loading model", "loading model"),
        ("[2026-11-23 02:00:00,123] WARN loading", "loading"),
        ("2026-11-23T02:00:00+02:00 loading", "loading"),
        ("INFO loading", "loading"),
        ("0.00.123.456 I srv    load_model: loading 'x'", "srv load_model: loading 'x'"),
        ("\x1b[2m2026-11-23T02:00:00Z\x1b[0m \x1b[32m INFO\x1b[0m m: loading", "loading"),
        ("Information follows", "Information follows"),
        ("a\tb\x07c\x00 d\x9b31m \u202ee", "a b c d 31m e"),
        ("\x1b]0;title\x07loading \x1b]8;;http://x\x1b\\link", "loading link"),
        ("loading café 模型 {0} %s", "loading café 模型 {0} %s"),
    ],
)
def test_a_line_is_shown_without_what_surrounds_it(line: str, text: str) -> None:
    progress = read_progress(line)

    assert progress is not None
    assert text == progress.text


@pytest.mark.parametrize(
    ("line", "fraction"),
    [
        ("model.safetensors  45%", 0.45),
        ("model.safetensors: 45.5%|████▌     | 1.2G/4.1G [00:10<00:12]", 0.455),
        ("Fetching 9 files:  33%|███   | 3/9", 0.33),
        ("downloading model.safetensors 1.0G/4.0G", 0.25),
        ("downloading model.safetensors 512 MiB / 2 GiB", 0.25),
        ("downloading model.safetensors 1/4GB", 0.25),
        ("loading: 100 %", 1.0),
        ("loading tensors 5%\rloading tensors 6%", 0.06),
        ("loading 250%", None),
        ("loading", None),
        ("downloading 5G/4G", None),
        ("downloading 1G/0G", None),
        ("[2/9] downloading: model.safetensors", None),
        ("loading with 80% of memory", None),
        ("memory limit 80%", None),
        ("loading v1.45%", None),
    ],
)
def test_a_line_tells_the_part_that_is_done(line: str, fraction: float | None) -> None:
    progress = read_progress(line)

    assert progress is not None
    assert pytest.approx(fraction) == progress.fraction


@pytest.mark.parametrize(
    ("line", "downloading"),
    [
        ("[mlxcel] model 'a/b' not found locally; downloading into the mlxcel store...", True),
        ("[mlxcel download] repo=a/b revision=main dest=/x", True),
        ("[1/9] cached: config.json", True),
        ("[2/9] downloading: model.safetensors", True),
        ("[2/9] done: model.safetensors (4.10 GiB in 321.0s)", True),
        ("downloaded config.json", True),
        ("model.safetensors  45%", True),
        ("Fetching 9 files:  33%|███   | 3/9", True),
        ("[mlxcel download] complete: downloaded=9 cached=0 total_size=4.10 GiB dest=/x", False),
        ("[mlxcel download] all expected files already present at /x, skipping", False),
        ("loading model.safetensors 45%", False),
        ("2026-11-23T02:00:00Z  INFO mlxcel: Model worker thread starting, loading model", False),
        ("listening on /x.sock", False),
    ],
)
def test_a_line_tells_whether_a_download_goes_on(line: str, downloading: bool) -> None:
    progress = read_progress(line)

    assert progress is not None
    assert downloading is progress.downloading


@pytest.mark.parametrize("noise", ["", "\n", "   \n", "....\n", "\x1b[0m\n", "\n====\n"])
def test_the_last_line_that_says_something_decides(noise: str) -> None:
    progress = read_progress(f"[1/9] downloading: a\nloading weights\n{noise}")

    assert LOADING == progress


@pytest.mark.parametrize("tail", ["", "\n", "...\n==="])
def test_nothing_is_read_from_nothing(tail: str) -> None:
    assert read_progress(tail) is None


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (FAILED, "Failed to load model: no such tensor"),
        (
            "2026-11-23T02:00:00Z ERROR mlxcel: failed to load the model's weights: bad tensor",
            "failed to load the model's weights: bad tensor",
        ),
        (
            "\x1b[2m2026-11-23T02:00:00Z\x1b[0m \x1b[31mERROR\x1b[0m m: Failed to load model: x",
            "Failed to load model: x",
        ),
        ("ERROR Failed to load model: x", "Failed to load model: x"),
        ("Failed to load model: /m/nomic-embed/model.gguf", None),
        ("Error: could not load weights from model-00001-of-00002.safetensors", None),
        ("thread 'worker': cannot load checkpoint: unsupported quantization", None),
        ("llama_model_load: error loading model: missing tensor 'output_norm.weight'", None),
        ("llama_model_load_from_file_impl: failed to load model", None),
        (
            "0.00.123.456 E srv    load_model: failed to load model, '/models/x.gguf'",
            "srv load_model: failed to load model, '/models/x.gguf'",
        ),
        ("main: exiting due to model loading error", None),
        ('{"level":"ERROR","function":"load_model","message":"unable to load model"}', None),
        ("Loading model weights ... failed", None),
    ],
)
def test_a_line_that_says_that_loading_failed_is_the_reason(line: str, text: str | None) -> None:
    log = f"loading model\n{line}\n{WARMUP}\nlistening on /x.sock"

    assert (text or line) == load_failure(log)


@pytest.mark.parametrize(
    "line",
    [
        "",
        WARMUP,
        "warmup failed (non-fatal): failed to load model",
        "2026-11-23T02:00:00Z  WARN mlxcel: failed to load model card: not found",
        "2026-11-23T02:00:00Z  INFO mlxcel: retry: cannot load weights yet",
        "2026-11-23T02:00:00Z ERROR mlxcel: connection reset by peer",
        "2026-11-23T02:00:00Z ERROR mlxcel: Failed to load draft model: speculative decoding off",
        "2026-11-23T02:00:00Z ERROR mlxcel: failed to load embedding model: no such file",
        "2026-11-23T02:00:00Z ERROR mlxcel: unable to load the chat template of the model",
        "2026-11-23T02:00:00Z ERROR mlxcel: failed to load model defaults, ignoring them",
        "2026-11-23T02:00:00Z ERROR mlxcel: download of model.safetensors failed",
        "2026-11-23T02:00:00Z  INFO mlxcel: Model m loaded in 1.2s",
        "0.00.123.456 W load: special_eos_id is not in special_eog_ids",
        "loading model 'failed-experiment.gguf'",
        "srv  log_server_r: request: GET /health 127.0.0.1 503",
    ],
)
def test_a_line_that_says_nothing_of_the_kind_is_none(line: str) -> None:
    assert load_failure(f"loading model\n{line}\nlistening") is None


def test_of_several_complaints_the_first_tells_most() -> None:
    log = "llama_model_load: error loading model: bad magic\nmain: failed to load model 'x'"

    assert "llama_model_load: error loading model: bad magic" == load_failure(log)


# --------------------------------------------------------------------------- mlxcel 0.4.2

# What it prints from its start until it is ready, but for the list of its routes.
WORKER = "mlxcel::server::model_provider::model_worker"
START = [
    "2026-11-29T10:00:00.123456Z  INFO mlxcel::server::startup: Runtime device: CPU",
    f"2026-11-29T10:00:00.123456Z  INFO {WORKER}: Model worker thread starting, loading model...",
    f"2026-11-29T10:00:00.123456Z  INFO {WORKER}: Model scripted loaded in 0.002s (resident after "
    "load: 0.00 GB) worker_model_id=scripted load_seconds=0.002325947 active_bytes=0",
    f"2026-11-29T10:00:00.123456Z  INFO {WORKER}: EOS tokens from config: [258, 256]",
    "2026-11-29T10:00:00.123456Z  INFO mlxcel::server::startup: Warming up model...",
    "2026-11-29T10:00:00.123456Z  INFO prefill{seq_id=seq-0 prompt_len=5 cached=0}: "
    "mlxcel::server::batch::scheduler: prompt-cache: request completed (eos-at-prefill): "
    "cached=0/5 prompt tokens, saved ~0ms prompt_tokens=5 cached_tokens=0 saved_ms=0",
    "2026-11-29T10:00:00.123456Z  INFO mlxcel::server::startup: Warmup complete",
    "2026-11-29T10:00:00.123456Z  INFO mlxcel::server::startup: Starting mlxcel server on /x.sock",
]
ROUTES = [
    "2026-11-29T10:00:00.123456Z  INFO mlxcel::server::startup: Endpoints:",
    "2026-11-29T10:00:00.123456Z  INFO mlxcel::server::startup:   POST /v1/chat/completions  - "
    "OpenAI chat completions",
    "2026-11-29T10:00:00.123456Z  INFO mlxcel::server::startup:   GET  /health               - "
    "Health check",
]
SHOWN = [
    "Runtime device: CPU",
    "Model worker thread starting, loading model...",
    "Model scripted loaded in 0.002s (resident after load: 0.00 GB)",
    "EOS tokens from config: [258, 256]",
    "Warming up model...",
    "prompt-cache: request completed (eos-at-prefill): cached=0/5 prompt tokens, saved ~0ms",
    "Warmup complete",
    "Starting mlxcel server on /x.sock",
]


@pytest.mark.parametrize("count", range(1, len(START) + 1))
def test_a_line_of_a_start_is_shown_without_fields_and_spans(count: int) -> None:
    progress = read_progress("\n".join(START[:count]))

    assert Progress(SHOWN[count - 1], None, False) == progress


def test_the_list_of_routes_is_not_progress() -> None:
    progress = read_progress("\n".join([*START, *ROUTES]))

    assert Progress(SHOWN[-1], None, False) == progress


def test_fields_alone_are_shown() -> None:
    progress = read_progress("INFO mlxcel: layer=3")

    assert Progress("layer=3", None, False) == progress


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (START[:1], False),
        (START[:2], True),
        ([START[1], START[4]], True),
        (START[:3], False),
        (START, False),
        ([START[0], START[1], *ROUTES], True),
        ([START[1], FAILED], False),
        (["loading weights"], True),
        (["load_tensors: loading model tensors, this can take a while..."], True),
        (["load_tensors: loading model tensors", "main: model loaded"], False),
        (["[2/9] downloading: model.safetensors"], False),
        ([], False),
    ],
)
def test_a_log_tells_whether_weights_are_loading(lines: list[str], expected: bool) -> None:
    assert expected is is_loading("\n".join(lines))


@pytest.mark.parametrize(
    "reason",
    [
        "No safetensors files found in directory: models/noweights",
        "Failed to load models/truncated/model.safetensors: [load_safetensors] Tensor "
        "'model.layers.0.self_attn.k_proj.weight' invalid data offsets (1709056, 2233344) "
        "exceeding the size of the file. Perhaps an incomplete download or corrupt file?",
        "Failed to load models/corrupt/model.safetensors: [load_safetensors] Invalid json header "
        "length file models/corrupt/model.safetensors",
        # The words of a path do not count.
        "No safetensors files found in directory: /cache/default/retry-lora-draft",
    ],
)
def test_a_failed_load_is_told_with_its_reason(reason: str) -> None:
    lines = [
        *START[:2],
        f"2026-11-29T10:00:00.123456Z ERROR {WORKER}: Failed to load model: {reason}",
        "2026-11-29T10:00:00.123456Z  WARN mlxcel::server::startup: Warmup failed (non-fatal): "
        "Response channel closed",
        *ROUTES,
    ]

    assert f"Failed to load model: {reason}" == load_failure("\n".join(lines))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Error: model 'a/b' is neither an existing path nor a valid HuggingFace repo-id", True),
        ("Error: failed to download model 'a/b': HTTP status client error (404 Not Found)", True),
        ("Error: failed to download model 'mlx-community/a/b': 401", True),
        ("Error: failed to download model 'a/b-2': 401", False),
        ("[mlxcel] model 'a/b' not found locally; downloading into the mlxcel store...", False),
        ("Error: Address already in use (os error 98)", False),
        ("", False),
    ],
)
def test_an_error_about_the_name_of_a_model_is_found(line: str, expected: bool) -> None:
    assert expected is is_model_missing(f"{START[0]}\n{line}\n", "a/b")


FAILED_TEMPLATE = (
    "2026-11-23T02:00:00.123456Z  WARN mlxcel::server::chat_request: "
    "Chat template render failed, using fallback: "
)


@pytest.mark.parametrize(
    ("log", "reason"),
    [
        (
            f"a\n{FAILED_TEMPLATE}Failed to render chat template: undefined value (in chat:1)\nb",
            "Failed to render chat template: undefined value (in chat:1)",
        ),
        (f"{FAILED_TEMPLATE}first\n{FAILED_TEMPLATE}last\n", "last"),
        (f"{FAILED_TEMPLATE}\x1b[31mred\x1b[0m\a", "red"),
        (f"{FAILED_TEMPLATE}{'x' * 400}", "x" * 300),
        (f"{FAILED_TEMPLATE}\nb", None),
        ("all is well", None),
        ("", None),
    ],
)
def test_a_log_tells_why_the_chat_template_failed(log: str, reason: str | None) -> None:
    assert reason == template_failure(log)
