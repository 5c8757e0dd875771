-- A row is as of when an object of an entity is known. Its days were read one after the other, or
-- again; a day counts as known only if what was read later goes beyond the moment at which it was
-- read, because a record that changed in between has left it for a later day. Days that were read
-- with the newest ones count as well.
INSERT INTO warehouse.meta.as_of BY NAME
WITH loads AS (
    SELECT *
    FROM warehouse.meta.loads
    WHERE object = $object AND entity = $entity AND withdrawn_at IS NULL AND kind IN ('records', 'lines', 'snapshot')
),

scans AS (
    SELECT max(read_from) AS read_at
    FROM warehouse.meta.loads
    WHERE object = $object AND entity = $entity AND withdrawn_at IS NULL AND kind = 'delete_scan'
),

newest AS (
    SELECT
        max(CASE kind WHEN 'snapshot' THEN read_from ELSE read_until END) AS as_of,
        arg_max(load_id, read_until) AS load_id,
        bool_or(kind = 'snapshot') AS is_snapshot
    FROM loads
),

days AS (
    SELECT
        days.day,
        days.takes_older,
        days.day - CAST(row_number() OVER (ORDER BY days.day) AS INTEGER) AS stretch
    FROM warehouse.meta.raw_loads AS days
    CROSS JOIN newest
    WHERE
        days.object = $object
        AND days.entity = $entity
        AND (days.read_to <= newest.as_of OR days.load_id = newest.load_id)
),

last_stretch AS (
    SELECT min(day) AS first_day, bool_or(takes_older) AS takes_older
    FROM days
    GROUP BY stretch
    ORDER BY max(day) DESC
    LIMIT 1
)

SELECT
    CAST($object AS VARCHAR) AS object,
    CAST($entity AS VARCHAR) AS entity,
    newest.as_of,
    CASE
        WHEN newest.is_snapshot OR last_stretch.takes_older THEN TIMESTAMPTZ '0001-01-01 00:00:00Z'
        ELSE CAST(last_stretch.first_day AS TIMESTAMP WITH TIME ZONE)
    END AS complete_since,
    CASE WHEN newest.is_snapshot THEN newest.as_of ELSE scans.read_at END AS deletes_as_of
FROM newest
CROSS JOIN scans
LEFT JOIN last_stretch ON true
WHERE newest.as_of IS NOT NULL
