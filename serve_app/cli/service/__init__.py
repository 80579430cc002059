"""Commands for whoever runs the service.

One module for each command: its arguments, and the operation that it runs. A command reads its
settings before it imports anything slow, so that a bad setting is reported at once.
"""
