"""Commands that work on memories.

One module for each command: its arguments and the operation it runs. A command loads the settings
before it imports slow modules, so that a bad setting is reported at once.
"""
