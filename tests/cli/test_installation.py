from __future__ import annotations

import sys
from importlib.metadata import version

import pytest

from mlxcel_integrations.cli.installation import Finding, check_packages, check_python


def test_python_and_installed_packages_are_ok() -> None:
    assert "ok" == check_python().state
    assert Finding("ok", "httpx", version("httpx")) in list(check_packages())


def test_missing_packages_come_with_the_command_that_installs_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", [])

    found = {finding.subject: finding for finding in check_packages()}

    advice = "pip install --force-reinstall mlxcel-integrations"
    assert Finding("problem", "httpx", "not installed", advice) == found["httpx"]
    optional = "optional: pip install 'mlxcel-integrations[langchain]'"
    assert Finding("missing", "langchain-core", optional) == found["langchain-core"]
