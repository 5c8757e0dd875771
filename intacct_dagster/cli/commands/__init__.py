"""The options of each command. A command imports what it runs, so that `--help` is fast."""
