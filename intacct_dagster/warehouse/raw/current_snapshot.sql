-- A row is in the current view if the last reading of its entity brought it.
read._extracted_at = (
    SELECT max(loads.extracted_at)
    FROM meta.raw_loads AS loads
    WHERE loads.object = {{object}} AND loads.entity = read._entity
)
