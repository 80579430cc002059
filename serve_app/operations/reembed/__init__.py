"""`memex reembed`: moves all memories to another embedding model, with the service running or not.

A running service brings up an Embedder of the new model, whose replicas do the work and then answer
for it; without one, the model runs in this process.
"""
