"""Notes to a request, which are neither fields of users nor sent."""

from __future__ import annotations

from typing import Any

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.protocol.sampling import checked_fields, request_fields
from mlxcel_integrations.protocol.schemas.schema_use import EXACT, SchemaUse


@pytest.mark.parametrize("use", [EXACT, SchemaUse(relaxable=True), SchemaUse(tight=True)])
def test_a_note_is_not_sent(use: SchemaUse) -> None:
    assert {"top_k": 3} == request_fields(checked_fields({"top_k": 3, "schema_use": use}))


@pytest.mark.parametrize("given", [True, "relaxable", (True, False), {"relaxable": True}])
def test_what_a_user_gives_is_no_note(given: Any) -> None:
    with pytest.raises(MlxcelError, match=r"^schema_use= is not an argument. .* extra_body=\.$"):
        checked_fields({"schema_use": given})
