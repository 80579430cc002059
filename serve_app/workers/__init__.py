"""Nodes that call other nodes, as the ingresses do, and so cannot be in deployments/."""
