"""The wire protocol: pure functions and small state machines that never wait."""
