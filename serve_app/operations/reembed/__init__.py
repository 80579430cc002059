"""`memex reembed`: moves all memories to another embedding model; the service may run.

A running service gets an Embedder for the new model, whose replicas do the work and later serve the
model. Without a service, the model runs in this process.
"""
