"""`intacct-dagster doctor`: checks by subject, and the report of what they found."""
