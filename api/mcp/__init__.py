"""MCP: the tools of an assistant, over HTTP at /mcp and over the standard streams of manage.py mcp."""
