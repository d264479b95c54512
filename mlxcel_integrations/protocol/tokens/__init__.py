"""Tokens: counts of texts and chats, the context window, and what a prompt costs."""
