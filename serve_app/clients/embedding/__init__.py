"""How an ingress replica reaches the embedders. Each wrapper is the Embedder port over the next:

    CachedEmbedder         answers for texts embedded before; callers of one text share its request
      CoalescedEmbedder    callers that come while calls are under way share the next call
        EmbedderByModel    chooses the embedder that serves the model; reports calls that failed
          RemoteEmbedder   a deployment's handle: deadlines, retries, long texts in slices

`deployed.py` finds the embedders that are served beside the graph's own. wiring.py builds the
stack. The Summariser uses the two lower ones alone.
"""
