"""The HTTP code that REST and MCP share: middleware, input fields, cursors, JSON Lines, error
answers."""
