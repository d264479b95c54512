"""A web app that streams answers, and frees the server when its client leaves."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from mlxcel_integrations.langchain import ChatMlxcel

llm = ChatMlxcel(model="embedded", max_tokens=200)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Start the model's server with the app, and end it with the app."""
    async with llm:
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/ask")
async def ask(question: str) -> StreamingResponse:
    """Stream the answer to a question."""

    async def pieces() -> AsyncIterator[str]:
        async for chunk in llm.astream(question):
            yield chunk.text

    return StreamingResponse(pieces(), media_type="text/plain")
