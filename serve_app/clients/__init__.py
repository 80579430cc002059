"""Clients of the nodes: deployment handles as the domain's ports."""
