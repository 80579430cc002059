"""The `memex` command: main.py has the table of commands, commands/ a module for each."""
