"""What REST and MCP share of HTTP: middleware, input fields, cursors, JSON Lines, errors as
answers."""
