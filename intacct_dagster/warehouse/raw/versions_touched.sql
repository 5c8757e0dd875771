-- A row of `touched` is a unit that the load brought, or that it missed.
CREATE OR REPLACE TEMP TABLE touched AS
SELECT {{unit_of_versions}} AS key
FROM {{versions}}
WHERE _load_id = {{load}}
UNION
SELECT key
FROM warehouse.meta.tombstones
WHERE object = {{object}} AND load_id = {{load}}
