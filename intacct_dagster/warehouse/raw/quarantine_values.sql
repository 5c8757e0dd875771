-- A row is a value of a load that could not be converted, of a version that the load stored.
CREATE OR REPLACE TEMP TABLE flawed AS
SELECT DISTINCT
    sent.key AS key,
    flaw.path AS path,
    flaw.name AS column_name,
    flaw.type AS column_type,
    flaw.value AS value,
    flaw.is_rounded AS is_rounded,
    flaw.reason AS reason
FROM (
    SELECT
        {{sent_key}} AS key,
        {{sent_changed}} AS changed,
        unnest(list_filter([{{found}}], lambda each: each IS NOT NULL)) AS flaw
    FROM {{pages}}
) AS sent
SEMI JOIN (
    SELECT {{key}} AS key, {{changed}} AS changed
    FROM {{raw}}
    WHERE _load_id = {{load}}
) AS stored ON stored.key = sent.key AND stored.changed IS NOT DISTINCT FROM sent.changed
