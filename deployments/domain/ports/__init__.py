"""What the service needs from the nodes behind it. The graph's deployments and the tests' fakes
implement these ports; a port's docstring is its contract."""
