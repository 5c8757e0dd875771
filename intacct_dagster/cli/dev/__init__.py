"""`intacct-dagster dev`: the Dagster UI on this machine, behind a guard of its requests."""
