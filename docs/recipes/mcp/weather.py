"""A server of tools: it speaks MCP over its standard input and output."""

from mcp.server.fastmcp import FastMCP

server = FastMCP("weather", log_level="WARNING")


@server.tool()
def get_weather(city: str, days: int) -> str:
    """Return the weather in a city for a number of days."""
    return f"It will be sunny in {city} for {days} days."


server.run()
