-- A row is a key that the scan calls in question: one that we show and it did not see, or one that
-- it saw and we hold to be deleted.
WITH ours AS (
    SELECT
        {{key}} AS key,
        max({{changed}}) AS changed,
        max(_extracted_at) AS extracted_at
    FROM {{raw}}
    WHERE _entity = $entity
    GROUP BY ALL
),

buried AS (
    SELECT
        key,
        max(found_at) AS found_at
    FROM {{tombstones}}
    WHERE object = $object AND entity = $entity
    GROUP BY ALL
)

SELECT
    ours.key,
    scanned.key IS NOT NULL AS seen
FROM ours
LEFT JOIN buried ON ours.key = buried.key
LEFT JOIN memory.main.scanned AS scanned ON ours.key = scanned.key
WHERE
    CASE
        WHEN buried.found_at > ours.extracted_at THEN scanned.key IS NOT NULL
        ELSE
            scanned.key IS NULL
            AND ($since::TIMESTAMPTZ IS NULL OR ours.changed >= $since::TIMESTAMPTZ)
    END
ORDER BY ours.key
