"""The better orders of prompts are better, as the page says."""

from __future__ import annotations

from pathlib import Path

import pytest

from mlxcel_integrations import LLM

from .prompt_orders import table

PAGE = Path(__file__).parents[2] / "docs/prompt-cache.md"


@pytest.mark.engine
def test_the_page_has_what_the_engine_tells() -> None:
    with LLM("embedded") as llm:
        expected = table(llm)

    page = PAGE.read_text()
    assert expected == page.partition("<!-- orders of prompts -->\n")[2].partition("<!--")[0]
