"""The `memex` command: main.py has the table of commands, data/ and service/ a module for each."""
