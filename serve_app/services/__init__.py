"""What the API can do, over the ports of deployments/domain/ports. No HTTP, no Ray."""
