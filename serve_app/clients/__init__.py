"""Deployment handles as the domain's ports."""
