"""How often the built-in model answers right, in the prompts that frameworks make."""
