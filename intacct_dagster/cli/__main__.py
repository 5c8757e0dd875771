"""Run the command line as `python -m intacct_dagster.cli`."""

from intacct_dagster.cli.app import main

if __name__ == "__main__":
    main()
