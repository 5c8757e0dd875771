"""`python -m intacct_sandbox`: the same as `intacct-sandbox`."""

from intacct_sandbox.cli import main

main(prog_name="intacct-sandbox")
