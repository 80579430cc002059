"""An ingress replica's clients of the embedders. Each implements the Embedder port over the next:

    CachedEmbedder         keeps embeddings; callers of the same text share one request
      CoalescedEmbedder    callers that arrive while calls run share the next call
        EmbedderByModel    chooses the embedder that serves the model; reports failed calls
          RemoteEmbedder   calls a deployment: deadlines, retries, long texts in slices

`deployed.py` finds embedders in applications of their own. wiring.py builds the stack. The
Summariser uses only the lower two.
"""
