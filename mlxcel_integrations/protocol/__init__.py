"""What goes over the wire: pure functions and small state machines that never wait."""
