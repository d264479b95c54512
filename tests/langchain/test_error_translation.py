"""The translation of errors changes their class, and drops the frames inside of this package."""

from __future__ import annotations

import traceback
from typing import Any

import httpx
import openai
import pytest
from langchain_core import exceptions as lc

from mlxcel_integrations import MlxcelStreamError
from mlxcel_integrations.langchain.error_translation import langchain_errors

CAUSE = OSError("reset")


def break_off() -> None:
    raise MlxcelStreamError("cut short") from CAUSE


def time_out() -> None:
    raise openai.APITimeoutError(httpx.Request("POST", "http://x")) from CAUSE


@pytest.mark.parametrize(
    ("fail", "langchain"),
    [(break_off, lc.ModelAPIError), (time_out, lc.ModelTimeoutError)],
)
def test_the_cause_is_kept_and_the_frames_inside_are_not(fail: Any, langchain: type) -> None:
    with pytest.raises(langchain) as caught, langchain_errors:
        fail()

    assert CAUSE is caught.value.__cause__
    assert fail.__name__ not in [frame.name for frame in traceback.extract_tb(caught.tb)]


def test_errors_of_others_are_left_alone() -> None:
    error = KeyError("of a validator")

    with pytest.raises(KeyError) as caught, langchain_errors:
        raise error

    assert error is caught.value
