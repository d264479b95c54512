"""Embeddings and relevance: models, limits of their texts, requests and answers."""
