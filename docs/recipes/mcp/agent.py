"""An agent that calls the tools of an MCP server."""

import asyncio
import sys
from pathlib import Path

from langchain.agents import create_agent
from langchain_mcp_adapters.client import MultiServerMCPClient

from mlxcel_integrations.langchain import ChatMlxcel

weather = {
    "transport": "stdio",
    "command": sys.executable,
    "args": [str(Path(__file__).with_name("weather.py"))],
}
# The built-in model is small: it may make one call at a time, and the agent has a limit.
llm = ChatMlxcel(
    model="embedded",
    temperature=0,
    max_tokens=64,
    extra_body={"parallel_tool_calls": False},
)


async def main() -> None:
    """Ask a question that needs the tool, and print the conversation."""
    tools = await MultiServerMCPClient({"weather": weather}).get_tools()
    question = ("human", "What is the weather in Paris for the next 3 days?")
    async with llm:
        agent = create_agent(llm, tools)
        state = await agent.ainvoke({"messages": [question]}, {"recursion_limit": 8})
    for message in state["messages"]:
        print(message.type, "|", message.text or message.tool_calls)


asyncio.run(main())
