"""The tests, and what runs them."""

WARNINGS_ARE_ERRORS = (
    *("-W", "error"),
    # As in pyproject.toml.
    *("-W", "ignore:'asyncio.iscoroutinefunction' is deprecated:DeprecationWarning"),
)
"""Arguments of Python for programs that import a framework."""
