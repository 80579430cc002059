"""Rate limits as response headers: RateLimit-Policy and RateLimit, by the draft
draft-ietf-httpapi-ratelimit-headers-10. The partition key is the agent's id."""

import base64
import math

from deployments.domain.rate_limits import WINDOW_S, Quota


def rate_limit_headers(quota: Quota | None) -> dict[str, str]:
    """None: no headers."""
    if quota is None:
        return {}
    name = f'"{quota.limit.operation}"'
    partition = f"pk=:{base64.b64encode(quota.agent_id.encode()).decode()}:"
    reset_s = max(0, math.ceil(quota.reset_s))
    return {
        "RateLimit-Policy": f"{name};q={quota.limit.per_minute};w={WINDOW_S};{partition}",
        "RateLimit": f"{name};r={quota.remaining};t={reset_s};{partition}",
    }
