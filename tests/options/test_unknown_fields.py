"""Names of fields: what is unknown is refused each time, and warned about once."""

from __future__ import annotations

import warnings

import pytest

from mlxcel_integrations.errors import MlxcelError
from mlxcel_integrations.options.unknown_fields import _check_unknown, check_unknown_fields


def test_a_misspelling_is_warned_about_once() -> None:
    _check_unknown.cache_clear()  # another test may have made the same mistake
    with pytest.warns(UserWarning, match=r"'temperatuer' .*; did you mean 'temperature'"):
        check_unknown_fields(["temperatuer"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_unknown_fields(["temperatuer", "own"])


def test_a_name_that_cannot_be_right_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(MlxcelError, match=r"^timeout= is an option of the object"):
            check_unknown_fields(["timeout"])


@pytest.mark.parametrize("name", ["schema_url", "schema_uri", "schema_cls"])
def test_no_name_of_our_own_is_suggested(name: str) -> None:
    with pytest.raises(MlxcelError, match=rf"{name}.*[Dd]id you mean schema="):
        check_unknown_fields([name])


def test_names_of_users_do_not_pile_up() -> None:
    check_unknown_fields(f"own_{number}_{number}" for number in range(300))

    assert 256 >= _check_unknown.cache_info().currsize
