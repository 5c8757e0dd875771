"""`intacct-dagster demo`: the main job, run on a sandbox company that is started beside it."""
